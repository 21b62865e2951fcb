"""The parts that do no I/O: documents, bits of members, ids of members, the server's time."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import State, StateChange, SystemClock, TaskRecord
from drivetrain_mongo import bitmap, member_ids
from drivetrain_mongo.codec import FOREVER, UNFINISHED, changes, delete_at, is_live, micros, record_of, rounded
from drivetrain_mongo.server_clock import ServerClock

_TEXTS = st.text(max_size=5)
_TIMES = st.none() | st.floats(0, 1e11)
_HISTORIES = st.dictionaries(st.sampled_from(list(State)), st.builds(StateChange, st.floats(allow_nan=False), _TEXTS))
_RECORDS = st.builds(
    TaskRecord,
    task_id=st.just("t"),
    state=st.sampled_from(list(State)),
    attempt=st.integers(0, 2**62),
    task=_TEXTS,
    queue=_TEXTS,
    workflow=_TEXTS,
    parent=_TEXTS,
    run=st.none() | _TEXTS,
    leased_until=_TIMES,
    starts=st.integers(0, 9),
    payload=st.none() | st.binary(max_size=5),
    downstream=st.none() | st.binary(max_size=5),
    history=_HISTORIES,
    expires_at=_TIMES,
).map(lambda record: rounded(record) if record.state.terminal else _unfinished(record))


def _unfinished(record):
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return rounded(TaskRecord(**{**fields, "expires_at": None}))


@given(_RECORDS, _RECORDS)
def test_a_record_is_read_as_it_was_written(before, after):
    document = {"_id": "t", **changes(None, before)}
    assert record_of(document) == before
    document.update(changes(before, after))
    assert record_of(document) == after


def test_a_document_of_an_earlier_version_is_read():
    record = TaskRecord(task_id="t", state=State.PENDING, task="mod.add", history={State.PENDING: StateChange(1.5)})
    document = {"_id": "t", **changes(None, record)}
    assert not {"queue", "workflow", "parent"} & document.keys()  # as earlier versions have written it
    assert record_of(document) == record


@given(_RECORDS)
def test_one_number_marks_unfinished_records(record):
    fields = changes(None, record)
    assert (fields["expires"] == UNFINISHED) is not record.state.terminal
    assert "delete_at" not in fields or record.state.terminal


def test_a_document_without_a_state_has_no_record():
    assert record_of(None) is None
    assert record_of({"_id": "g", "group": {}}) is None


def test_a_document_without_an_end_is_always_live():
    assert is_live({"expires": FOREVER}, 1e12)
    assert is_live({"expires": UNFINISHED}, 1e12)
    assert not is_live({"expires": micros(5.0)}, 5.0)
    assert is_live({"expires": micros(5.000001)}, 5.0)


def test_the_servers_own_sweep_comes_an_hour_later_and_spares_documents_without_an_end():
    assert delete_at(micros(0.0)) == datetime(1970, 1, 1, 1, tzinfo=UTC)
    assert delete_at(FOREVER) is None
    assert delete_at(UNFINISHED) is None
    assert delete_at(micros(1e12)) is None  # beyond the last date that there is


@given(st.lists(st.sets(st.integers(0, 200))))
def test_bits_are_the_members_that_were_set(batches):
    words, members = {}, set()
    for batch in batches:
        for name, operand in bitmap.operation("done", batch).items():
            word = name.removeprefix("done.")
            words[word] = words.get(word, 0) | operand["or"]
        members |= batch
    assert bitmap.indexes(words) == members
    assert bitmap.count(words) == len(members)
    assert all(bitmap.contains(words, index) is (index in members) for index in range(201))
    assert all(0 <= word < 2**63 for word in words.values())


@given(st.lists(st.integers(0, 20_000), unique=True, max_size=300))
def test_no_step_names_more_words_than_any_server_takes(members):
    parts = bitmap.parts(members)
    assert sorted(index for part in parts for index in part) == sorted(members)
    assert all(len(bitmap.operation("done", part)) <= 50 for part in parts)
    assert len(parts) <= 1 + len({index // 60 for index in members}) // 50


@given(st.text(), st.text(), st.integers(0, 10**9), st.integers(0, 10**9))
def test_ids_of_members_sort_as_they_do_and_lie_within_their_group(group_id, other, one, two):
    opening = "0123456789abcdef" * 2
    first, second = (member_ids.member_id(group_id, opening, index) for index in (one, two))
    assert (first < second) is (one < two)
    assert member_ids.index_of(first) == one
    assert member_ids.opening_of(first) == (group_id, opening)
    bounds = member_ids.between(group_id, opening)
    assert bounds["$gte"] <= first < bounds["$lt"]
    assert bounds["$lt"] <= member_ids.end(group_id, opening)
    stranger = member_ids.member_id(other, "f" * 32, one)
    assert not bounds["$gte"] <= stranger < bounds["$lt"]


class _Clock(SystemClock):
    def __init__(self):
        self.seconds = 100.0

    def monotonic(self):
        return self.seconds

    def now(self):
        return 5.0


class _Server:
    """A server that gives its time, after each of ``delays`` seconds."""

    def __init__(self, clock, seconds, delays):
        self.clock, self.ahead, self.delays, self.asked = clock, seconds - clock.seconds, list(delays), 0

    @property
    def admin(self):
        return self

    def command(self, name):
        assert name == "hello"
        self.asked += 1
        delay = self.delays.pop(0)
        self.clock.seconds += delay / 2
        time = datetime.fromtimestamp(self.clock.seconds + self.ahead, UTC)
        self.clock.seconds += delay / 2
        return {"localTime": time}


def test_the_time_is_the_servers():
    clock = _Clock()
    server = _Server(clock, 1_000.0, [0.01, 0.01])
    time = ServerClock(server, clock)
    assert abs(time.now() - clock.seconds - 900.0) < 1e-6
    clock.seconds += 29.0
    assert abs(time.now() - clock.seconds - 900.0) < 1e-6
    assert server.asked == 1
    server.ahead -= 50.0  # another one has become primary
    clock.seconds += 2.0
    assert abs(time.now() - clock.seconds - 850.0) < 1e-6
    assert server.asked == 2


def test_of_slow_answers_the_quickest_counts():
    clock = _Clock()
    server = _Server(clock, 1_000.0, [4.0, 1.0, 2.0])
    assert abs(ServerClock(server, clock).now() - clock.seconds - 900.0) < 1e-6
    assert server.asked == 3


class _Lopsided(_Server):
    """A server to which requests travel slowly and replies fast, so that half of the delay is wrong."""

    def command(self, name):
        delay = self.delays[0]
        self.clock.seconds += delay / 2
        answer = super().command(name)
        self.clock.seconds -= delay / 2
        return answer


def test_a_slow_answer_does_not_replace_a_quick_one():
    """Otherwise leases would seem to end seconds too early while the server is busy."""
    clock = _Clock()
    server = _Lopsided(clock, 1_000.0, [0.0, 6.0, 6.0, 6.0, 6.0])
    time = ServerClock(server, clock)
    assert abs(time.now() - clock.seconds - 900.0) < 1e-6
    clock.seconds += 31.0
    assert abs(time.now() - clock.seconds - 900.0) < 1e-6
    assert server.asked == 4


def test_a_slow_answer_is_asked_for_again_soon_and_used_if_it_contradicts_the_last():
    clock = _Clock()
    server = _Server(clock, 1_000.0, [2.0] * 6 + [0.01])
    time = ServerClock(server, clock)
    assert abs(time.now() - clock.seconds - 900.0) < 1e-6
    server.ahead -= 50.0  # another one has become primary
    clock.seconds += 1.5
    assert abs(time.now() - clock.seconds - 850.0) < 1e-6
    clock.seconds += 1.5
    assert abs(time.now() - clock.seconds - 850.0) < 1e-6
    assert server.asked == 7


def test_the_local_clock_is_used_if_the_server_gives_no_time():
    class Silent:
        admin = property(lambda self: self)

        def command(self, name):
            return {}

    assert ServerClock(Silent(), _Clock()).now() == 5.0
