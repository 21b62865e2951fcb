"""Timetables: cron in every zone against a walk over each minute, intervals, lists, and wrong parameters."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivetrain.contract import ConfigurationError
from drivetrain.drivers.timetables import At, Cron, Every, make_timetable

MINUTE = timedelta(minutes=1)
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
#: Zones whose clocks are turned by half an hour, by two hours, at midnight, backwards in summer, or by a day.
ODD_ZONES = (
    *("Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "America/Havana"),
    *("Africa/Casablanca", "Europe/Dublin", "Pacific/Apia", "America/St_Johns", "Asia/Beirut"),
)
EXPRESSIONS = (
    *("30 2 * * *", "0 0 * * *", "15,45 1-3 * * *", "0 */6 * * *", "7 0,23 * * *", "30 0-23/2 * * *"),
    *("0 * * * *", "*/10 2 * * *", "*/15 */2 * * *", "* 1 * * *", "0-59/20 23,0,1,2,3 * * *", "*/30 2 * * sun"),
)
DAYS_OF_WEEK = {"sun": 6}


def numbers(text, first, last):
    """The numbers of a field of a cron expression."""
    found = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        every = range(first, last + 1) if span == "*" else range(int(low), int(high or low) + 1)
        found.update(every[:: int(step or 1)])
    return found


def matcher(expression):
    minute, hour, _, _, day = expression.split()
    minutes, hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
    days = set(range(7)) if day == "*" else {DAYS_OF_WEEK[day]}
    return lambda wall: wall.minute in minutes and wall.hour in hours and wall.weekday() in days


def walk(expression, zone, begin, end):
    """The instants after ``begin`` up to ``end``, found by a look at each minute."""
    matches = matcher(expression)
    fixed = not expression.startswith("*") and not expression.split()[1].startswith("*")
    found, instant = [], begin
    before = begin.astimezone(zone).replace(tzinfo=None)
    while instant < end:
        instant += MINUTE
        local = instant.astimezone(zone)
        wall = local.replace(tzinfo=None, fold=0)
        ticks = matches(wall) and not (fixed and local.fold)
        skipped = before + MINUTE
        while fixed and skipped < wall:  # the clock was turned forward
            ticks = ticks or matches(skipped)
            skipped += MINUTE
        if ticks:
            found.append(instant)
        before = wall
    return found


def instants(timetable, begin, end):
    found, instant = [], begin
    while (instant := timetable.after(instant)) is not None and instant <= end:
        found.append(instant)
    return found


def turn_after(zone, begin):
    """A full hour before the clock is turned, within half a year; or ``begin``."""
    for day in range(190):
        instant = begin + timedelta(days=day)
        if instant.astimezone(zone).utcoffset() != (instant + timedelta(days=1)).astimezone(zone).utcoffset():
            return instant - timedelta(hours=2)
    return begin


@settings(max_examples=60)
@given(
    st.sampled_from(EXPRESSIONS),
    st.one_of(st.sampled_from(ODD_ZONES), st.sampled_from(ZONES)),
    st.integers(0, 41 * 366 * 24).map(lambda hours: datetime(1995, 1, 1, tzinfo=UTC) + timedelta(hours=hours)),
)
@example("*/10 2 * * *", "Australia/Lord_Howe", datetime(2026, 4, 3, tzinfo=UTC))
@example("30 2 * * *", "Europe/Paris", datetime(2026, 10, 24, tzinfo=UTC))
@example("0 0 * * *", "America/Havana", datetime(2026, 10, 30, tzinfo=UTC))
@example("15,45 1-3 * * *", "Pacific/Apia", datetime(2011, 12, 29, tzinfo=UTC))
def test_instants_are_those_that_a_look_at_each_minute_finds(expression, name, when):
    zone = ZoneInfo(name)
    begin = turn_after(zone, when)
    end = begin + timedelta(days=2, hours=6)
    assert instants(Cron(expression, name), begin, end) == walk(expression, zone, begin, end)


@settings(max_examples=60)
@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ODD_ZONES),
    st.floats(0, 200 * 86400, allow_nan=False).map(
        lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    ),
)
def test_the_next_instant_is_later_wherever_one_begins(expression, zone, begin):
    timetable = Cron(expression, zone)
    first = timetable.after(begin)
    assert first > begin
    assert first.microsecond == 0
    assert timetable.after(first - timedelta(milliseconds=1)) == first
    assert timetable.after(first) > first


def test_a_rare_frequency_ticks_twice_in_the_repeated_hour():
    timetable = Cron("*/30 2 25 10 *", "Europe/Paris")
    found = instants(timetable, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC))
    assert [f"{one:%H:%M}" for one in found] == ["00:00", "00:30", "01:00", "01:30"]


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("@daily", "2026-03-02T00:00"),
        ("@hourly", "2026-03-01T13:00"),
        ("0 12 L * *", "2026-03-31T12:00"),
        ("0 0 * * mon#2", "2026-03-09T00:00"),
        ("*/20 * * * * *", "2026-03-01T12:34:40"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
    ],
)
def test_expressions_of_every_kind(expression, wanted):
    found = Cron(expression).after(datetime(2026, 3, 1, 12, 34, 20, tzinfo=UTC))
    assert found == datetime.fromisoformat(wanted).replace(tzinfo=UTC)


@given(st.integers(1000, 10**9), st.integers(-(10**9), 10**9), st.integers(0, 4 * 10**12))
def test_intervals_are_anchored_and_never_repeat(period, phase, begin):
    timetable = Every(period / 1000, phase / 1000)
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=begin)
    first = timetable.after(instant)
    assert timedelta(0) < first - instant <= timedelta(milliseconds=period)
    assert timetable.after(first) - first == timedelta(milliseconds=period)
    assert round(first.timestamp() * 1000 - phase) % period == 0


def test_a_list_ticks_in_order_and_ends():
    first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    texts = [last.isoformat(), first.isoformat(), first.isoformat()]
    timetable = make_timetable("at", {"instants": texts})
    assert timetable == At((first, last))
    assert timetable.after(first - MINUTE) == first
    assert timetable.after(first) == last
    assert timetable.after(last) is None


@pytest.mark.parametrize(
    ("kind", "parameters", "says"),
    [
        ("cron", {"cron": "61 * * * *"}, "'61 * * * *' is wrong: Bad minute"),
        ("cron", {"cron": "* * *"}, "Wrong number of fields"),
        ("cron", {"cron": "0 0 30 2 *"}, "Bad day-of-month"),
        ("cron", {"cron": "1," * 1000}, "more than 500 characters"),
        ("cron", {"cron": "* * * * *", "tz": "Europe/Pariss"}, "tz is 'Europe/Pariss'"),
        ("cron", {"cron": "* * * * *", "tz": "../etc/passwd"}, "not in the time zone database"),
        ("cron", {"cron": 5}, "cron is 5; it must be a text"),
        ("cron", {"tz": "UTC"}, "cron needs cron"),
        ("cron", {"cron": "* * * * *", "zone": "UTC"}, "cron has no parameter zone; use cron, tz"),
        ("every", {"seconds": 0.5}, "the period is 0.5 seconds"),
        ("every", {"seconds": float("nan")}, "seconds is nan"),
        ("every", {"seconds": True}, "seconds is True"),
        ("every", {"seconds": 60, "phase": "1"}, "phase is '1'"),
        ("at", {"instants": []}, "a list of 1 to 10000 instants"),
        ("at", {"instants": ["2026-01-01T00:00"]}, "write it with its zone"),
        ("at", {"instants": ["soon"]}, "an instant is 'soon'"),
    ],
)
def test_wrong_parameters_are_refused(kind, parameters, says):
    with pytest.raises(ConfigurationError) as raised:
        make_timetable(kind, parameters)
    assert says in str(raised.value)


def test_other_kinds_are_left_to_others():
    assert make_timetable("sunrise", {}) is None
