"""Search words, as an operator types them: ``state:failed task:mails.* since:2h``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

from drivetrain.app.finding import TaskFilter
from drivetrain.contract import ConfigurationError, State

__all__ = ["STATE_WORDS", "WORDS", "filter_of", "read_time"]

#: The words, and the field of `TaskFilter` that each sets.
WORDS: Mapping[str, str] = {
    "state": "states",
    "task": "task",
    "queue": "queue",
    "worker": "worker",
    "workflow": "workflow",
    "since": "since",
    "id": "task_id",
    "text": "text",
}
#: What can follow ``state:``, besides the names of the states.
STATE_WORDS: Mapping[str, frozenset[State]] = {
    "waiting": frozenset({State.PENDING, State.RECEIVED}),
    "running": frozenset({State.STARTED}),
    "retrying": frozenset({State.RETRY}),
    "succeeded": frozenset({State.SUCCESS}),
    "failed": frozenset({State.FAILURE}),
    "unfinished": frozenset(state for state in State if not state.terminal),
    "ended": frozenset(state for state in State if state.terminal),
}

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WORD = re.compile("([a-z_]+):(.*)", re.DOTALL)


def filter_of(words: Iterable[str], now: datetime) -> TaskFilter:
    """The filter that search words mean.

    Words without a colon are free text, which is searched as a whole: with single spaces between the words.

    Args:
        words: the words.
        now: the present time, with a time zone.

    Raises:
        ConfigurationError: a word is unknown or stands twice, or its value is wrong.
    """
    given: dict[str, str] = {}
    free: list[str] = []
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None:
            free.append(word)
            continue
        name, value = match.groups()
        _check_word(name, value, given)
        given[name] = value
    if free and "text" in given:
        raise ConfigurationError(f"{' '.join(free)!r} is free text, and there is text: too; write one of them")
    values = {WORDS[name]: value for name, value in given.items() if name not in {"state", "since"}}
    if free:
        values["text"] = " ".join(free)
    return TaskFilter(
        states=_states(given["state"]) if "state" in given else (),
        since=_since(given["since"], now) if "since" in given else None,
        **values,
    )


def read_time(text: str, now: datetime) -> datetime:
    """A time: ``30m`` for half an hour before ``now``, or ISO 8601, of UTC where it names no zone.

    Raises:
        ValueError, OverflowError: it is neither.
    """
    ago = re.fullmatch("([0-9]+)([smhd])", text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.utcoffset() is None else found


def _check_word(name: str, value: str, given: Mapping[str, str]) -> None:
    if name not in WORDS:
        close = get_close_matches(name, WORDS, 1)
        advice = f"did you mean {close[0]}:?" if close else f"use one of {', '.join(f'{word}:' for word in WORDS)}"
        raise ConfigurationError(f"there is no search word {name}:; {advice} Text with a colon is text:{name}:…")
    if name in given:
        raise ConfigurationError(f"{name}: stands twice, as {given[name]!r} and as {value!r}; write it once")
    if not value:
        raise ConfigurationError(f"{name}: has no value; write {name}:VALUE without a space")


def _states(text: str) -> tuple[State, ...]:
    """The states of words that are joined by commas."""
    found = set[State]()
    for word in text.lower().split(","):
        if word in STATE_WORDS:
            found |= STATE_WORDS[word]
        elif word.upper() in State.__members__:
            found.add(State[word.upper()])
        else:
            known = [*STATE_WORDS, *(state.value.lower() for state in State)]
            raise ConfigurationError(f"state: has {word!r}; use one or more, with commas, of {', '.join(known)}")
    return tuple(state for state in State if state in found)


def _since(text: str, now: datetime) -> float:
    try:
        return read_time(text, now).timestamp()
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"since: has {text!r}; use an age like 90s, 30m, 12h or 7d, or a time like 2026-11-30T12:00"
        ) from None
