"""`DeadLetterFilter`: which dead letters are meant. Pure."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain import ConfigurationError, DeadLetterFilter, QueuedTask

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def letter(**fields):
    told = {"task_id": "1", "task": "mail", "queue": "q", "reason": "unknown task: mail", "died_at": NOON, **fields}
    return QueuedTask(**told)


def test_a_filter_without_conditions_matches_all():
    assert DeadLetterFilter().matches(letter())
    assert DeadLetterFilter().matches(letter(task="", reason=None, died_at=None))


@pytest.mark.parametrize(
    ("where", "others"),
    [
        ({"task_ids": ["1", "2"]}, {"task_id": "3"}),
        ({"tasks": ["mail", "bill"]}, {"task": "mail2"}),
        ({"tasks": ["mail"]}, {"task": ""}),
        ({"reason": "unknown task"}, {"reason": "unreadable: task"}),
        ({"reason": "UNKNOWN"}, {"reason": None}),
        ({"died_before": NOON + HOUR}, {"died_at": NOON + HOUR}),
        ({"died_before": NOON + HOUR}, {"died_at": None}),
        ({"died_after": NOON}, {"died_at": NOON - HOUR}),
        ({"died_after": NOON}, {"died_at": None}),
    ],
)
def test_each_criterion(where, others):
    assert DeadLetterFilter(**where).matches(letter())
    assert not DeadLetterFilter(**where).matches(letter(**others))


def test_all_conditions_must_match():
    where = DeadLetterFilter(tasks=["mail"], reason="unknown", died_after=NOON - HOUR, died_before=NOON + HOUR)
    assert where.matches(letter())
    for other in ({"task": "bill"}, {"reason": "crashed"}, {"died_at": NOON - 2 * HOUR}, {"died_at": NOON + 2 * HOUR}):
        assert not where.matches(letter(**other))


def test_one_name_is_not_taken_for_its_letters():
    assert DeadLetterFilter(task_ids="12", tasks="mail") == DeadLetterFilter(task_ids=["12"], tasks=["mail"])


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ConfigurationError, match="died_before is .* no time zone"):
        DeadLetterFilter(died_before=NOON.replace(tzinfo=None))


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_before_and_after_a_time_part_all_letters(moment, died_at):
    one, other = DeadLetterFilter(died_before=moment), DeadLetterFilter(died_after=moment)
    assert one.matches(letter(died_at=died_at)) is not other.matches(letter(died_at=died_at))
