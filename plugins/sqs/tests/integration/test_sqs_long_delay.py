"""A task that is due just beyond the longest delay of SQS, in real time: sixteen minutes."""

import time

import pytest

from drivetrain import App
from drivetrain.contract import hookimpl
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.connection import Clients, connect
from drivetrain_sqs.limits import LONGEST_DELAY_SECONDS
from drivetrain_sqs.options import Options
from services.sqs_client import Calls, FaultyClient

DELAY_SECONDS = LONGEST_DELAY_SECONDS + 45.0


class Noted:
    """A plugin that makes our broker, and notes its calls."""

    def __init__(self):
        self.calls = Calls()

    @hookimpl
    def make_broker(self, url, context):
        def noted(options):
            clients = connect(options)
            return Clients(*(FaultyClient(each, self.calls) for each in (clients.long_poll, clients.request)))

        return SqsBroker(Options.parse(url), context.clock, noted)


@pytest.mark.timeout(DELAY_SECONDS + 120)
def test_a_task_that_is_due_just_beyond_the_longest_delay_hops_once(moto, request):
    if request.config.getoption("--contract-profile") != "thorough":
        pytest.skip("takes 16 minutes: pytest --contract-profile thorough runs it")
    noted, ran = Noted(), []
    app = App(moto.url("long").replace("sqs+http", "sqs-noted"), backend="memory://", plugins=[noted])

    @app.task
    def act() -> float:
        ran.append(time.time())
        return ran[-1]

    due = time.time() + DELAY_SECONDS
    with app.worker(concurrency=1):
        act.s().set(delay=DELAY_SECONDS).send().get(timeout=DELAY_SECONDS + 60)
    app.close()
    assert len(ran) == 1
    assert 0 <= ran[0] - due < 5, f"it ran {ran[0] - due:.2f} seconds after it was due"
    sent = [
        entry
        for method, parameters in noted.calls.made
        if method == "send_message_batch"
        for entry in parameters["Entries"]
    ]
    assert len(sent) == 2, "the message has not hopped once"
    assert sent[0]["DelaySeconds"] in {LONGEST_DELAY_SECONDS - 1, LONGEST_DELAY_SECONDS}
    received = noted.calls.counts()["receive_message"]
    assert received <= DELAY_SECONDS / 20 + 10, f"{received} receive calls while it waited"
