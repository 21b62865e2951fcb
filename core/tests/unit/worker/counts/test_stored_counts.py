"""What is stored of counts over time: folding, steps and sizes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from drivetrain.worker.counts.stored import (
    FoldedCounts,
    MinuteCounts,
    counted_tasks,
    folded,
    not_folded,
    start_of,
    steps,
    within_bytes,
)
from drivetrain.worker.counts.task_counts import CountedTasks, TaskCounts, added_up
from drivetrain.worker.value_codec import decode, encode

HOUR, DAY = 3600, 86400
TASKS = st.builds(
    CountedTasks,
    st.sampled_from(["a", "b", ""]),
    st.sampled_from(["q", "r"]),
    st.builds(TaskCounts, received=st.integers(0, 9), succeeded=st.integers(0, 9)),
)
MINUTES = st.lists(
    st.builds(
        MinuteCounts,
        start=st.integers(0, 9).map(lambda number: 600 + 60 * number),
        writer=st.sampled_from("xyz"),
        kept_seconds=st.just(60.0),
        tasks=st.lists(TASKS, max_size=4),
    ),
    max_size=12,
    unique_by=lambda one: (one.start, one.writer),
)


def totals(tasks) -> Counter:
    found = Counter[tuple[str, str, str]]()
    for one in tasks:
        found[one.task, one.queue, "received"] += one.counts.received
        found[one.task, one.queue, "succeeded"] += one.counts.succeeded
    return +found


@given(st.data(), MINUTES)
def test_each_value_is_folded_once_in_any_order_and_however_often(data, minutes: list[MinuteCounts]):
    into = FoldedCounts()
    for some in data.draw(
        st.lists(st.lists(st.sampled_from(minutes), max_size=5), max_size=5) if minutes else st.just([])
    ):
        into = folded(into, {(one.start, one.writer): one for one in some}.values(), 600)
    missing = not_folded(into, minutes, 600)
    last = decode(encode(folded(into, minutes, 600)), FoldedCounts)
    assert totals(last.tasks) == totals(one for minute in minutes for one in minute.tasks)
    assert totals([*into.tasks, *(one for minute in missing for one in minute.tasks)]) == totals(last.tasks)
    assert not_folded(last, minutes, 600) == []
    assert folded(last, minutes, 600) is last


@given(st.lists(st.lists(TASKS, max_size=5), max_size=4))
def test_joined_lists_have_one_entry_for_each_task_and_queue(lists: list[list[CountedTasks]]):
    joined = counted_tasks(lists)
    assert len({(one.task, one.queue) for one in joined}) == len(joined)
    assert totals(joined) == totals(one for some in lists for one in some)


@given(st.lists(TASKS, max_size=6), st.integers(1, 600))
def test_what_is_too_large_is_counted_together(tasks: list[CountedTasks], most_bytes: int):
    tasks = counted_tasks([tasks])
    found = within_bytes(tasks, most_bytes)
    assert len(found) <= 1 or len(encode(FoldedCounts(tasks=found))) <= most_bytes
    assert added_up(one.counts for one in found) == added_up(one.counts for one in tasks)


def test_the_rarest_tasks_lose_their_names_first():
    tasks = [CountedTasks(f"task {number}", "q", TaskCounts(received=number)) for number in range(100)]
    found = within_bytes(tasks, 2000)
    names = {one.task for one in found}
    assert "" in names
    assert {one.task for one in tasks[-(len(found) - 1) :]} == names - {""}


def test_longer_steps_are_kept_for_longer():
    assert [(one.seconds, one.kept_seconds) for one in steps(2 * DAY)] == [(60, 3 * HOUR), (600, 2 * DAY)]
    assert [(one.seconds, one.kept_seconds) for one in steps(HOUR)] == [(60, HOUR)]
    assert [(one.seconds, one.kept_seconds) for one in steps(30 * DAY)] == [
        (60, 3 * HOUR),
        (600, 2 * DAY),
        (3600, 30 * DAY),
    ]


def test_steps_begin_at_multiples_also_before_1970():
    assert [start_of(at, 60) for at in (0, 59.9, 60, -1)] == [0, 0, 60, -60]
