"""Which ticks are sent: pure functions of what is stored and of the time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import State, TaskRecord
from drivetrain.drivers.timetables import Cron, Every
from drivetrain.worker.pauses import Pause
from drivetrain.worker.schedules.decisions import ON_TIME_SECONDS, apply_overlap, due_ticks
from drivetrain.worker.schedules.entries import edited, instants_digest, new_entry, next_due, paused, resumed
from drivetrain.worker.schedules.instants import Instants, TimetableFailed, jitter_seconds
from drivetrain.worker.schedules.outcomes import judged, last_id
from drivetrain.worker.schedules.state import SHARDS, Definition, Entry, shard_of
from drivetrain.worker.schedules.tick import SentTick, Tick, TickKind, read_tick, tick_header, tick_ids
from drivetrain.worker.value_codec import decode, encode

START = 1_800_000_000.0
HOUR = 3600.0
HOURLY = Instants(Every(HOUR))


def definition(**changes):
    fields = {"id": "s", "kind": "every", "parameters": {"seconds": HOUR, "phase": 0.0}, "frames": [], "task": "t"}
    return Definition(**{**fields, **changes})


def entry(**changes):
    return new_entry(definition(), incarnation="i", name="d", now=START, **changes)


@given(
    st.sampled_from(["skip", "latest", "all"]),
    st.integers(1, 30 * 86400),
    st.integers(0, 5 * 86400),
    st.integers(1, 20),
    st.integers(1, 100_000),
)
def test_late_ticks_keep_the_bounds_of_their_schedule(misfire, passed, catch_up, limit, period):
    """They are among the instants, in order, not later than allowed, and no more than allowed."""
    instants, now = Instants(Every(float(period))), START + passed
    due = due_ticks(instants, cursor=START, now=now, misfire=misfire, catch_up=catch_up, catch_up_limit=limit)
    assert list(due.ticks) == sorted(set(due.ticks))
    assert all(START < tick <= now and tick % period == 0 for tick in due.ticks)
    late = [tick for tick in due.ticks if tick <= now - ON_TIME_SECONDS]
    assert all(tick > now - catch_up for tick in late)
    assert len(late) <= {"skip": 0, "latest": 1, "all": limit}[misfire]
    assert set(instants.between(max(START, now - ON_TIME_SECONDS), now)) <= set(due.ticks)
    # What is decided is decided: nothing is due any more, and no tick is lost in between.
    again = due_ticks(instants, cursor=due.cursor, now=now, misfire=misfire, catch_up=catch_up, catch_up_limit=limit)
    assert again.ticks == ()
    assert instants.after(due.cursor) == instants.after(now)


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=30))
def test_each_tick_is_decided_once_whenever_one_looks(pauses):
    now, cursor, sent = START, START, []
    for pause in pauses:
        now += pause
        due = due_ticks(HOURLY, cursor=cursor, now=now, misfire="all", catch_up=10**9, catch_up_limit=1000)
        cursor = due.cursor
        sent += due.ticks
    assert sent == list(HOURLY.between(START, now))


def test_the_newest_of_very_many_are_found_at_once():
    seconds = Instants(Cron("* * * * * *"))
    assert seconds.newest(START, START + 30 * 86400, 3) == [START + 30 * 86400 - back for back in (2, 1, 0)]
    assert seconds.count(START, START + 30 * 86400, 100) == 100


def test_no_more_than_remain():
    due = due_ticks(HOURLY, cursor=START, now=START + 5 * HOUR, misfire="all", catch_up=10**6, remaining=2)
    assert due.ticks == (START + HOUR, START + 2 * HOUR)
    assert due_ticks(HOURLY, cursor=START, now=START + 5 * HOUR, remaining=0).ticks == ()


@pytest.mark.parametrize(
    ("rule", "running", "waiting", "send", "waits", "skipped", "cancel"),
    [
        ("allow", True, None, (1, 2, 3), None, 0, False),
        ("allow", True, 0, (0, 1, 2, 3), None, 0, False),
        ("skip", True, None, (), None, 3, False),
        ("skip", False, None, (1,), None, 2, False),
        ("queue_one", True, None, (), 3, 2, False),
        ("queue_one", True, 0, (), 3, 3, False),
        ("queue_one", False, 0, (0,), 3, 2, False),
        ("cancel_previous", True, None, (3,), None, 2, True),
        ("cancel_previous", False, None, (3,), None, 2, False),
    ],
)
def test_overlaps(rule, running, waiting, send, waits, skipped, cancel):
    sending = apply_overlap(rule, (1, 2, 3), running=running, waiting=waiting)
    assert (sending.send, sending.waiting, sending.skipped, sending.cancel) == (send, waits, skipped, cancel)


def test_a_waiting_tick_is_sent_when_nothing_runs_any_more():
    assert apply_overlap("queue_one", (), running=True, waiting=7).waiting == 7
    assert apply_overlap("queue_one", (), running=False, waiting=7).send == (7,)


def test_an_edit_of_the_time_begins_at_the_present_and_another_one_does_not():
    stored, now = entry(), START + 90 * 60
    assert edited(stored, definition(note="n"), name="d2", now=now).cursor == START
    assert edited(stored, definition(parameters={"seconds": 60.0, "phase": 0.0}), name="d2", now=now).cursor == now
    assert edited(stored, definition(end=now), name="d2", now=START - 5).cursor == START, "a cursor never goes back"
    assert instants_digest(definition()) != instants_digest(definition(jitter=1.0))


def test_when_to_look_next():
    stored = entry()
    assert next_due(stored, definition(), HOURLY, now=START) == START + HOUR
    assert next_due(stored, definition(max_runs=0), HOURLY, now=START) is None
    assert next_due(paused(stored, Pause(since=START)), definition(), HOURLY, now=START) is None
    late = next_due(stored, definition(jitter=100.0), HOURLY, now=START)
    assert START + HOUR <= late <= START + HOUR + 100
    assert late == START + HOUR + jitter_seconds("s", 100.0)


def test_a_resumed_schedule_begins_now_or_where_it_was():
    stored = entry()
    assert resumed(stored, now=START + 9, missed=False).cursor == START + 9
    assert resumed(stored, now=START + 9, missed=True).cursor == START


@pytest.mark.parametrize(
    ("state", "unfinished", "failures"),
    [
        (State.PENDING, 1, 0),
        (State.STARTED, 1, 0),
        (State.SUCCESS, 0, 0),
        (State.FAILURE, 0, 1),
        (State.EXPIRED, 0, 1),
        (State.CANCELLED, 0, 0),
        (None, 0, 0),
    ],
)
def test_a_workflow_has_ended_when_its_last_task_has(state, unfinished, failures):
    stored = Entry(
        **{
            **{name: getattr(entry(), name) for name in Entry.__struct_fields__},
            "unfinished": (SentTick(START, "", 2, 1),),
        }
    )
    task_id = last_id(stored, stored.unfinished[0])
    records = {} if state is None else {task_id: TaskRecord(task_id=task_id, state=state)}
    after = judged(stored, definition(), records, is_unknown=lambda record: False, now=START)
    assert (len(after.unfinished), after.failures) == (unfinished, failures)
    failed = judged(stored, definition(pause_on_failure=True), records, is_unknown=lambda record: False, now=START)
    assert (failed.paused is not None) is bool(failures)


def test_an_entry_is_stored_as_it_is():
    stored = Entry(
        **{
            **{name: getattr(entry(), name) for name in Entry.__struct_fields__},
            "unfinished": (SentTick(START, "x", 2, 1),),
        }
    )
    assert decode(encode(stored), Entry) == stored


@given(st.text(), st.floats(0, 4e9), st.sampled_from(TickKind))
def test_a_header_says_which_tick_it_is(schedule, instant, kind):
    tick = read_tick(tick_header(schedule, instant, kind))
    assert (tick.schedule, tick.kind) == (schedule, kind)
    assert abs(tick.instant.timestamp() - instant) <= 0.001


@pytest.mark.parametrize("text", ["", "x", "1 y z", "9" * 40 + " scheduled s", "1 scheduled"])
def test_another_header_is_no_tick_or_one_without_a_name(text):
    tick = read_tick(text)
    assert tick is None or tick == Tick("", datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1))


def test_ids_are_functions_of_the_tick_and_of_nothing_else():
    ids = {
        tick_ids(incarnation, instant, label)(number)
        for incarnation in ("a", "b")
        for instant in (START, START + 0.001)
        for label in ("", "x")
        for number in range(3)
    }
    assert len(ids) == 24
    assert tick_ids("a", START)(0) == tick_ids("a", START)(0)
    assert all(len(one) == 32 and one[12] == "7" and one[16] in "89ab" for one in ids), "not of the form of a UUID"
    assert tick_ids("a", START)(5) < tick_ids("a", START + 1)(0), "ids of later ticks sort later"


def test_shards_share_schedules_evenly():
    counts = [0] * SHARDS
    for number in range(10_000):
        counts[shard_of(f"schedule {number}")] += 1
    assert min(counts) > 200
    assert max(counts) < 450


class Broken:
    def __init__(self, answer):
        self._answer = answer

    def after(self, instant):
        if isinstance(self._answer, Exception):
            raise self._answer
        return instant + timedelta(seconds=self._answer)


@pytest.mark.parametrize("answer", [0, -1, ValueError("no")])
def test_a_broken_timetable_is_an_error(answer):
    with pytest.raises(TimetableFailed):
        Instants(Broken(answer)).after(START)


def test_start_and_end_bound_the_instants():
    instants = Instants(Every(HOUR), START + 2 * HOUR, START + 3 * HOUR)
    assert list(instants.between(0.0, START * 2)) == [START + 2 * HOUR, START + 3 * HOUR]
