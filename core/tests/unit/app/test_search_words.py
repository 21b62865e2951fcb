"""Search words: what they mean, and the error that each mistake gets."""

from datetime import UTC, datetime, timedelta

import pytest

from drivetrain.app.finding import TaskFilter
from drivetrain.app.search_words import filter_of, read_time
from drivetrain.contract import ConfigurationError, State

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
HOUR_AGO = (NOW - timedelta(hours=1)).timestamp()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", TaskFilter()),
        ("state:failed", TaskFilter(states=(State.FAILURE,))),
        ("state:FAILURE", TaskFilter(states=(State.FAILURE,))),
        ("state:retrying,failed,Expired", TaskFilter(states=(State.RETRY, State.FAILURE, State.EXPIRED))),
        ("state:waiting", TaskFilter(states=(State.PENDING, State.RECEIVED))),
        ("task:mails.* queue:q worker:web*", TaskFilter(task="mails.*", queue="q", worker="web*")),
        ("workflow:01a id:01b", TaskFilter(workflow="01a", task_id="01b")),
        ("since:60m", TaskFilter(since=HOUR_AGO)),
        ("since:2026-11-30T11:00", TaskFilter(since=HOUR_AGO)),
        ("since:2026-11-30T12:00+01:00", TaskFilter(since=HOUR_AGO)),
        ("no such recipient", TaskFilter(text="no such recipient")),
        ("state:failed recipient", TaskFilter(states=(State.FAILURE,), text="recipient")),
        ("text:a:b", TaskFilter(text="a:b")),
        ("ValueError: 10:30", TaskFilter(text="ValueError: 10:30")),
        ("task:a:b", TaskFilter(task="a:b")),
    ],
)
def test_what_words_mean(words, expected):
    assert filter_of(words.split(), NOW) == expected


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("stat:failed", "no search word stat:; did you mean state:?"),
        ("colour:red", "no search word colour:; use one of state:, task:, queue:"),
        ("state:failed state:retry", "state: stands twice, as 'failed' and as 'retry'"),
        ("state: failed", "state: has no value; write state:VALUE without a space"),
        ("state:broken", "state: has 'broken'; use one or more, with commas, of waiting, running"),
        ("state:failed,", "state: has ''; use one or more"),
        ("since:yesterday", "since: has 'yesterday'; use an age like 90s, 30m, 12h or 7d"),
        ("since:99999999999999d", "since: has '99999999999999d'; use an age"),
        ("text:a b", "'b' is free text, and there is text: too"),
    ],
)
def test_a_mistake_is_named(words, error):
    with pytest.raises(ConfigurationError) as found:
        filter_of(words.split(), NOW)
    assert error in str(found.value)


def test_a_time_without_a_zone_is_of_utc():
    assert read_time("2026-11-30", NOW) == datetime(2026, 11, 30, tzinfo=UTC)
