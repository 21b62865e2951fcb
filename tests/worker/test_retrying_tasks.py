"""`Operations.retry`: an ended task runs again as a new attempt of the same id, with what waited for it."""

from datetime import timedelta

import pytest

from drivetrain import App, NotSupported, State, TaskFailed, Unique, chain, chord, group
from drivetrain.contract import ServiceUnavailable


class Shop:
    """An app whose tasks fail until it is healed. It notes what runs."""

    def __init__(self, url, **settings):
        self.app = app = App(url, **settings)
        self.ran = []
        self.healed = False

        @app.task(name="mail")
        def mail(n: int) -> int:
            self.ran.append(("mail", n))
            if n < 0 and not self.healed:
                raise ValueError("the provider is down")
            return abs(n)

        @app.task(name="after")
        def after(n: int) -> int:
            self.ran.append(("after", n))
            return n + 100

        @app.task(name="total")
        def total(numbers: list) -> int:
            self.ran.append("total")
            return len(numbers)

        @app.task(name="alarm")
        def alarm(failure) -> None:
            self.ran.append("alarm")

        self.mail, self.after, self.total, self.alarm = mail, after, total, alarm

    def drain(self):
        return self.app.worker(queues=self.app.operations.queues()).drain()

    def fail(self, workflow):
        """Send a workflow whose tasks fail, and heal the app; its handle."""
        handle = self.app.send(workflow)
        self.drain()
        self.healed = True
        self.ran.clear()
        return handle

    def retry(self, *task_ids):
        """Retry tasks; the verdict of each, with its reason."""
        return [(one.verdict.value, one.reason) for one in self.app.operations.retry(*task_ids)]

    def record(self, task_id):
        return self.app.runtime.backend.read([task_id])[0]


DONE = ("done", "")


@pytest.fixture
def shop(url):
    with (made := Shop(url)).app:
        yield made


def test_a_failed_task_runs_again_as_its_next_attempt(shop):
    handle = shop.fail(shop.mail.s(-1))
    with pytest.raises(TaskFailed, match="provider is down"):
        handle.get(1)
    assert shop.retry(handle.id) == [DONE]
    assert (shop.record(handle.id).state, shop.record(handle.id).attempt) == (State.PENDING, 1)
    shop.drain()
    assert handle.get(1) == 1
    assert shop.ran == [("mail", -1)]


def test_the_rest_of_its_chain_waits_again_and_gives_the_result_to_the_old_handle(shop):
    handle = shop.fail(chain(shop.mail.s(-1), shop.after.s(), shop.after.s()))
    first, second, last = handle._parts
    assert shop.retry(first) == [DONE]
    assert [shop.record(one).state for one in (second, last)] == [State.PENDING, State.PENDING]
    assert not handle.wait(0)
    shop.drain()
    assert handle.get(1) == 201
    assert shop.ran == [("mail", -1), ("after", 1), ("after", 101)]


def test_a_failed_link_in_the_middle_does_not_run_the_links_before_it_again(shop):
    handle = shop.fail(chain(shop.mail.s(5), shop.mail.si(-2), shop.after.s()))
    assert shop.retry(handle._parts[1]) == [DONE]
    shop.drain()
    assert handle.get(1) == 102
    assert shop.ran == [("mail", -2), ("after", 2)]


def test_a_task_that_did_not_run_names_the_task_to_retry(shop):
    handle = shop.fail(chain(shop.mail.s(-1), shop.after.s()))
    ((verdict, reason),) = shop.retry(handle.id)
    assert verdict == "skipped"
    assert f"task {handle._parts[0]} ended without success; retry that task" in reason


def test_all_failed_members_of_a_chord_run_again_and_the_others_do_not(shop):
    handle = shop.fail(chord([shop.mail.s(1), shop.mail.s(-2), shop.mail.s(3), shop.mail.s(-4)], shop.total.s()))
    failed = [one for one in handle._parts if (record := shop.record(one)) and record.task == "mail"]
    failed = [one for one in failed if shop.record(one).state is State.FAILURE]
    assert len(failed) == 2
    assert shop.retry(failed[0]) == [DONE]
    shop.drain()
    assert handle.get(1) == 4
    assert sorted(shop.ran, key=str) == [("mail", -2), ("mail", -4), "total"]


def test_a_group_in_a_chain_in_a_group_goes_on(shop):
    inner = group([shop.mail.si(-1), shop.mail.si(2)])
    handle = shop.fail(chain(group([chain(shop.mail.si(7), inner, shop.total.s()), shop.mail.si(-3)]), shop.total.s()))
    failed = [
        one for one in handle._parts if shop.record(one).task == "mail" and shop.record(one).state is State.FAILURE
    ]
    assert shop.retry(failed[1]) == [DONE]
    shop.drain()
    assert handle.get(1) == 2
    assert sorted(shop.ran, key=str) == [("mail", -1), ("mail", -3), "total", "total"]


def test_a_group_fails_again_when_a_member_fails_again(shop):
    handle = shop.fail(chord([shop.mail.s(1), shop.mail.s(-2)], shop.total.s()))
    shop.healed = False
    failed = next(one for one in handle._parts if shop.record(one).state is State.FAILURE and one != handle.id)
    member = shop.record(failed)
    (failed,) = [one for one in handle._parts if _failed_itself(shop, one)]
    assert member is not None
    assert shop.retry(failed) == [DONE]
    shop.drain()
    with pytest.raises(TaskFailed, match="provider is down"):
        handle.get(1)
    shop.healed = True
    assert shop.retry(failed) == [DONE]
    shop.drain()
    assert handle.get(1) == 2
    assert shop.record(failed).attempt == 2


def _failed_itself(shop, task_id):
    record = shop.record(task_id)
    return record.task == "mail" and record.state is State.FAILURE


def test_while_a_member_has_not_ended_the_group_stays_failed(shop):
    later = shop.mail.si(3).set(delay=timedelta(days=1))
    handle = shop.fail(chord([shop.mail.si(-1), later], shop.total.s()))
    (failed,) = [one for one in handle._parts if _failed_itself(shop, one)]
    ((verdict, reason),) = shop.retry(failed)
    assert verdict == "failed"
    assert "1 of 2 members of its group" in reason
    assert shop.record(failed).state is State.FAILURE


def test_a_member_without_arguments_keeps_its_group_from_a_retry(shop):
    handle = shop.fail(chord([shop.mail.si(-1), shop.mail.si(-2)], shop.total.s()))
    one, other = [part for part in handle._parts if _failed_itself(shop, part)]
    backend = shop.app.runtime.backend
    _drop_kept(backend, other)
    ((verdict, reason),) = shop.retry(one)
    assert verdict == "failed"
    assert f"another member of its group has failed with task {other}, and its arguments are no longer stored" in reason
    assert shop.retry(one)[0][0] == "failed"  # and nothing was changed
    assert shop.record(handle.id).state is State.FAILURE


def _drop_kept(backend, task_id):
    from drivetrain.contract import ValueWrite
    from drivetrain.worker.kept_messages import KEPT_PREFIX

    (outcome,) = backend.write_values([ValueWrite(key=KEPT_PREFIX + task_id, value=None)])
    assert outcome.written


def test_in_a_group_that_collects_failures_the_member_runs_by_itself(shop):
    members = group([shop.mail.si(1), shop.mail.si(-2)]).set(on_member_failure="collect")
    handle = shop.fail(chord(members, shop.total.s()))
    assert handle.get(1) == 2
    (failed,) = [one for one in handle._parts if _failed_itself(shop, one)]
    assert shop.retry(failed) == [DONE]
    shop.drain()
    assert shop.record(failed).state is State.SUCCESS
    assert shop.ran == [("mail", -2)]
    assert handle.get(1) == 2


def test_error_callbacks_run_again_when_the_new_attempt_fails(shop):
    handle = shop.fail(shop.mail.si(-1).set(on_error=shop.alarm.s()))
    shop.healed = False
    assert shop.retry(handle.id) == [DONE]
    shop.drain()
    assert shop.ran == [("mail", -1), "alarm"]


def test_success_callbacks_run_after_the_new_attempt(shop):
    handle = shop.fail(shop.mail.s(-1).set(on_success=shop.after.s()))
    assert shop.retry(handle.id) == [DONE]
    shop.drain()
    assert shop.ran == [("mail", -1), ("after", 1)]


def test_a_dead_letter_is_retried_and_gone(shop):
    handle = shop.fail(shop.mail.si(-1).set(dead_letter=True))
    assert shop.app.operations.sizes(["default"])["default"].dead == 1
    assert shop.retry(handle.id) == [DONE]
    assert shop.app.operations.sizes(["default"])["default"].dead == 0
    shop.drain()
    assert handle.get(1) == 1


def test_a_cancelled_task_runs_whether_or_not_a_worker_has_dropped_its_message(shop):
    one, other = shop.mail.si(1).send(), shop.mail.si(2).send()
    assert one.cancel()
    assert shop.retry(one.id) == [DONE]
    shop.drain()
    assert other.get(1) == 2
    assert one.get(1) == 1
    assert sorted(shop.ran) == [("mail", 1), ("mail", 2)]
    third = shop.mail.si(3).send()
    third.cancel()
    assert shop.drain() == 0
    assert shop.retry(third.id) == [DONE]
    shop.drain()
    assert third.get(1) == 3


def test_an_expired_task_runs_without_its_expiry(shop):
    handle = shop.fail(shop.mail.si(1).set(expires=0))
    assert shop.record(handle.id).state is State.EXPIRED
    assert shop.retry(handle.id) == [DONE]
    shop.drain()
    assert handle.get(1) == 1


def test_a_unique_task_holds_its_key_again_or_gives_way(shop):
    @shop.app.task(name="sync", unique=Unique())
    def sync(n: int) -> int:
        if not shop.healed:
            raise ValueError("not now")
        return n

    failed = shop.fail(sync.si(1))
    other = shop.app.send(sync.si(1))
    assert other.id != failed.id
    assert shop.retry(failed.id) == [
        ("failed", f"task {other.id} holds its unique key; retry it when that task has ended")
    ]
    assert shop.record(failed.id).state is State.FAILURE
    shop.drain()
    assert shop.retry(failed.id) == [DONE]
    assert shop.app.send(sync.si(1)).id == failed.id
    shop.drain()
    assert failed.get(1) == 1


def test_what_needs_no_retry_says_so(shop):
    succeeded, waiting = shop.fail(shop.mail.si(1)), shop.mail.si(2).send()
    assert shop.retry(succeeded.id, waiting.id, "nobody") == [
        ("skipped", "it has succeeded"),
        ("skipped", "it has not ended: it is PENDING"),
        ("failed", "the backend has no record of it: the id is wrong, or its retention is over"),
    ]


def test_without_kept_messages_a_retry_says_what_to_do(url):
    with (shop := Shop(url, keep_failed=False)).app:
        handle = shop.fail(shop.mail.si(-1))
        ((verdict, reason),) = shop.retry(handle.id)
        assert verdict == "failed"
        assert reason == "its arguments are not stored, because the setting keep_failed is off; send it again"
        letter = shop.mail.si(-2).set(dead_letter=True)
        shop.healed = False
        handle = shop.fail(letter)
        assert shop.retry(handle.id) == [DONE]
        shop.drain()
        assert handle.get(1) == 2


def test_a_kept_message_ends_with_the_result(url):
    with (shop := Shop(url, result_retention_seconds=0, redelivery_window_seconds=3600)).app:
        handle = shop.fail(shop.mail.si(-1))
        assert shop.app.runtime.backend.counts()["values"] == 0
        assert shop.record(handle.id) is None


def test_a_backend_that_stores_nothing_is_refused():
    with App("memory://", "null://") as app, pytest.raises(NotSupported, match="needs a backend that stores"):
        app.operations.retry("1")


@pytest.mark.parametrize("failing", range(1, 22))
def test_a_retry_that_stops_anywhere_goes_on_when_it_is_repeated(url, failing, monkeypatch):
    """Each call of the services fails once, before it is done. The workflow gives its result, each task runs once."""
    with (shop := Shop(url, send_seconds=0)).app:
        handle = shop.fail(chord([shop.mail.si(1), chain(shop.mail.si(-2), shop.after.s())], shop.total.s()))
        (failed,) = [one for one in handle._parts if _failed_itself(shop, one)]
        stopping = _Stopping(failing)
        runtime = shop.app.runtime
        for driver in (runtime.backend, runtime.broker):
            for name in ("record", "forget", "open_groups", "complete", "store_bodies", "drop_bodies", "publish"):
                if hasattr(driver, name):
                    monkeypatch.setattr(driver, name, stopping.wrap(getattr(driver, name)), raising=False)
        try:
            shop.retry(failed)
        except ServiceUnavailable:
            assert stopping.struck
        assert [outcome[0] in {"done", "skipped"} for outcome in shop.retry(failed)] == [True]
        shop.drain()
        assert handle.get(1) == 2
        assert sorted(shop.ran, key=str) == [("after", 2), ("mail", -2), "total"]


class _Stopping:
    """Lets the nth call of the wrapped methods fail before it is done."""

    def __init__(self, nth):
        self._left = nth
        self.struck = False

    def wrap(self, method):
        def call(*args, **options):
            self._left -= 1
            if self._left == 0:
                self.struck = True
                raise ServiceUnavailable("planned")
            return method(*args, **options)

        return call
