"""The order of queues for each receive: strict, or in the share of their weights."""

from collections import Counter

import pytest

from drivetrain import App, ConfigurationError
from drivetrain.cli.commands.worker import _with_weights
from drivetrain.worker.queue_order import QueueOrder


def test_without_weights_the_order_is_strict():
    order = QueueOrder({})
    assert all(order.order(["high", "low"]) == ["high", "low"] for _ in range(10))


def test_each_queue_comes_first_in_the_share_of_its_weight_and_none_starves():
    order = QueueOrder({"high": 5, "middle": 2, "low": 1})
    firsts = [order.order(["high", "middle", "low"])[0] for _ in range(80)]
    assert Counter(firsts) == {"high": 50, "middle": 20, "low": 10}
    assert all("low" in firsts[start : start + 8] for start in range(0, 80, 8)), "evenly spread"


def test_every_queue_is_in_each_order_and_paused_ones_are_left_out():
    order = QueueOrder({"high": 5, "low": 1})
    assert all(sorted(order.order(("high", "low"))) == ["high", "low"] for _ in range(10))
    assert order.order(("low",)) == ("low",)
    assert order.order(()) == ()


def test_the_command_takes_weights_where_every_queue_has_one():
    assert _with_weights({"queues": ("high:5", "low:1")}) == {
        "queues": ("high", "low"),
        "queue_weights": {"high": 5, "low": 1},
    }
    for queues in (("high", "low"), ("a:1", "low"), (":1",)):
        assert _with_weights({"queues": queues}) == {"queues": queues}
    assert _with_weights({}) == {}


@pytest.mark.parametrize(
    ("weights", "text"), [({"other": 1}, "names other"), ({"a": 0}, "whole number"), ({"a": 1.5}, "whole number")]
)
def test_wrong_weights_are_refused(weights, text):
    with pytest.raises(ConfigurationError, match=text):
        App("memory://").worker(queues=["a", "b"], queue_weights=weights)


def test_a_low_queue_is_served_while_a_high_one_is_full():
    app, ran = App("memory://weights", concurrency=1, prefetch_limit=1), []

    @app.task(name="job")
    def job(queue: str) -> None:
        ran.append(queue)

    calls = [app.signature("job", queue).set(queue=queue) for queue in ["high"] * 40 + ["low"] * 4]
    handles = app.send_many(calls)
    with app.worker(queues=["high", "low"], queue_weights={"high": 3, "low": 1}):
        for handle in handles:
            handle.get(timeout=60)
    assert ran.index("low") < 40
    app.close()
