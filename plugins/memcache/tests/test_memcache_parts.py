"""The parts of the memcache driver that need no server."""

import ssl
import string
from pathlib import Path

import pymemcache.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import (
    AuthenticationFailed,
    Completion,
    ConfigurationError,
    Member,
    ServiceRefused,
    ServiceUnavailable,
    State,
    StateChange,
    TaskRecord,
    Transition,
)
from drivetrain_memcache import entries, protocol
from drivetrain_memcache.completing import Completing
from drivetrain_memcache.entries import Head, Kept
from drivetrain_memcache.errors import CLIENT_ERRORS, mapped
from drivetrain_memcache.expiry import AT_ONCE, NEVER, exptime
from drivetrain_memcache.keys import Keys, Kind
from drivetrain_memcache.locks import Lock, next_token
from drivetrain_memcache.options import Options, Server
from drivetrain_memcache.protocol import Replies, Value
from drivetrain_memcache.servers import Servers
from drivetrain_memcache.shards import SHARD, Shard, place, sizes
from drivetrain_memcache.tasks import segments

NOW = 1_700_000_000.0
DAY = 86_400


# URLs


def test_a_url_names_servers_in_their_ways():
    told = Options.parse("memcache://Cache1,10.0.0.2:11212,[::1]:7/?namespace=shop&timeout_seconds=0.5")
    assert told.servers == (Server("cache1", 11211), Server("10.0.0.2", 11212), Server("::1", 7))
    assert (told.prefix, told.timeout_seconds) == ("shop", 0.5)
    assert Options.parse("memcache:///run/memcached.sock").servers[0].path == "/run/memcached.sock"


def test_a_relative_path_begins_in_the_directory_of_the_app():
    options = Options.parse("memcache://a?tls=yes&ca_file=ca.crt")
    assert options.in_directory(Path("/srv")).ca_file == "/srv/ca.crt"
    assert Options.parse("memcache://a").in_directory(Path("/srv")) == Options.parse("memcache://a")


def test_user_and_password_may_hold_any_sign_and_are_not_shown():
    told = Options.parse("memcache://us%3Aer:p%40ss%2F@host")
    assert (told.user, told.password) == ("us:er", "p@ss/")
    assert "p@ss/" not in repr(told)


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("memcache://", ["names no server"]),
        ("memcache://a,a:11211", ["a server twice"]),
        ("memcache://a,,b c", ["names no host", "its host is 'b c'"]),
        (f"memcache://a..b,{'x' * 64}.c", ["its host is 'a..b'", "x.c'"]),
        ("memcache://a:0,b:x", ["the port of 'a:0' is '0'", "the port of 'b:x' is 'x'"]),
        (f"memcache:///run/{'x' * 107}", ["longer than 107 bytes"]),
        ("memcache://a/3", ["has a path"]),
        ("memcache://user@a", ["only one"]),
        ("memcache://u:p%20w@a", ["no blanks"]),
        ("memcache://a?namespace=&timeout=1", ["namespace is ''", "did you mean 'timeout_seconds'"]),
        (
            "memcache://a?timeout_seconds=0&item_bytes=1&largest_value_bytes=x",
            ["is '0'", "item_bytes", "largest_"],
        ),
        ("memcache://a?tls=maybe&ca_file=/x", ["use yes or no", "ca_file is for"]),
        ("memcache://a#b", ["#"]),
    ],
)
def test_every_fault_of_a_url_is_named(url, faults):
    with pytest.raises(ConfigurationError) as raised:
        Options.parse(url)
    assert len(raised.value.faults) == len(faults)
    for fault, words in zip(raised.value.faults, faults, strict=True):
        assert words in fault
    assert "p%20w" not in str(raised.value)


# Keys


@given(st.sampled_from(list(Kind)), st.text(st.characters(codec=None)) | st.text(string.printable, min_size=80))
def test_any_name_makes_a_key_that_memcached_takes(kind, name):
    key = Keys("p" * 60).named(kind, name).name
    assert len(key) <= 250
    assert all(0x21 <= sign <= 0x7E for sign in key)


def test_different_names_have_different_keys():
    keys = Keys("a")
    names = ["x", "X", "#x", "x ", "x:1", "", "é", "\ud800", "x" * 300, "x" * 299 + "y", "s:x", "b:x"]
    made = [keys.named(kind, name).name for kind in (Kind.ENTRY, Kind.BODY, Kind.LOCK) for name in names]
    assert len(set(made)) == len(made)
    assert not Keys("a").holds(Kind.ENTRY, Keys("ab").named(Kind.ENTRY, "x").name)


# Where things are kept


def test_keys_stay_where_they_are_when_a_server_is_added_but_for_its_share():
    few = Servers(Options.parse("memcache://a,b,c"))
    more = Servers(Options.parse("memcache://d,c,b,a"))
    owners = [f"task-{number}" for number in range(3_000)]
    moved = [owner for owner in owners if few.place(owner) != more.place(owner)]
    assert {more.place(owner) for owner in moved} == {"d:11211"}
    assert 500 < len(moved) < 1_000
    assert {few.place(owner) for owner in owners} == {"a:11211", "b:11211", "c:11211"}


def test_the_order_of_the_servers_does_not_matter():
    one, other = Servers(Options.parse("memcache://a,b,c")), Servers(Options.parse("memcache://c,a,b"))
    assert all(one.place(str(number)) == other.place(str(number)) for number in range(300))


# Times


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, AT_ONCE),
        (-1.0, AT_ONCE),
        (0.2, 3),
        (1.0, 3),
        (59.5, 62),
        (30 * DAY - 2, 30 * DAY),
        # From here on Memcached takes the number for Unix seconds.
        (30 * DAY - 1, int(NOW) + 30 * DAY + 1),
        (30 * DAY + 0.5, int(NOW) + 30 * DAY + 3),
        (2**31 - 4 - NOW, 2**31 - 2),
        # It reads 32 bits. The item's own end decides.
        (2**31 - NOW, NEVER),
        (1e300, NEVER),
        (float("inf"), NEVER),
    ],
)
def test_memcached_is_told_a_time_that_is_never_early(seconds, told):
    assert exptime(NOW + seconds, NOW) == told


def test_what_has_no_end_has_none():
    assert exptime(None, NOW) == NEVER


# What is kept under an id


@given(
    st.builds(
        TaskRecord,
        task_id=st.just("t"),
        state=st.sampled_from(State),
        attempt=st.integers(),
        task=st.text(st.characters(codec=None)),
        run=st.none() | st.text(),
        leased_until=st.none() | st.floats(allow_nan=False),
        starts=st.integers(0),
        payload=st.none() | st.binary(),
        downstream=st.none() | st.binary(),
        entries=st.dictionaries(st.sampled_from(State), st.builds(StateChange, st.floats(allow_nan=False), st.text())),
        expires_at=st.none() | st.floats(allow_nan=False),
    )
    | st.none(),
    st.builds(Head, of=st.just("0a"), size=st.integers(0), collect=st.booleans(), continuation=st.binary()) | st.none(),
)
def test_what_is_dumped_is_loaded(record, group):
    assert entries.load("t", entries.dump(Kept(record, group))) == Kept(record, group)


def test_what_has_ended_or_holds_nothing_is_not_there():
    ended = Kept(TaskRecord(task_id="t", state=State.SUCCESS, expires_at=NOW))
    assert entries.live(ended, NOW - 0.001) is ended
    assert entries.live(ended, NOW) is None
    assert entries.live(Kept(), NOW) is None


# Groups


def test_a_large_group_has_shards_of_one_size():
    assert sizes(0) == [0]
    assert sizes(1) == [1]
    assert sizes(SHARD) == [SHARD]
    assert sizes(2 * SHARD + 3) == [SHARD, SHARD, 3]
    assert place(2 * SHARD + 2) == (2, 2)


@given(st.sets(st.integers(0, SHARD - 1), max_size=30), st.booleans(), st.booleans())
def test_a_shard_is_loaded_as_it_was(positions, failed, split):
    shard = Shard(failed=failed, split=split)
    for position in positions:
        shard = shard.complete(position, failed=False)
    assert (shard.failed, shard.split) == (failed, split)
    assert Shard.load(shard.dump()) == shard
    assert shard.done == len(positions)


def test_a_completion_costs_a_shard_and_not_the_group():
    """10,000 members that end one by one, each of which rewrites its shard, move 12 MB; not the square of anything."""
    full = Shard((1 << SHARD) - 1)
    assert len(full.dump()) <= SHARD // 8 + 1


def test_what_others_complete_meanwhile_is_not_counted_as_ours():
    """Two finishers of one shard: the count of the second goes on where the first one's ends."""
    head = Head(of="0", size=4, collect=False, continuation=b"")
    batch = [(0, Completion(member=Member("g", 3), payload=b"")), (1, Completion(member=Member("g", 1), payload=b""))]
    one = Completing("g", head, batch, failures={3: False, 1: False})
    before = Shard().complete(0, failed=False).complete(1, failed=False)
    wanted = one.wanted({0: before})
    one.written(0, before)
    one.finish(wanted)
    assert [(told.done, told.complete) for told in one.progress().values()] == [(3, False), (3, False)]


def test_a_failure_counts_from_the_member_that_failed():
    head = Head(of="0", size=2, collect=False, continuation=b"")
    batch = [(0, Completion(member=Member("g", 0), payload=b"")), (1, Completion(member=Member("g", 1), payload=b""))]
    one = Completing("g", head, batch, failures={0: False, 1: True})
    wanted = one.wanted({0: Shard()})
    one.written(0, Shard())
    one.finish(wanted)
    assert [told.failed for told in one.progress().values()] == [False, True]


# Locks


def test_tokens_grow_whatever_the_clock_does():
    last = next_token(None, NOW)
    assert next_token(Lock(last, 0.0), NOW + 1) > last
    assert next_token(Lock(last, 0.0), NOW - DAY) == last + 1
    assert next_token(None, NOW + 0.001) > last  # Memcached has dropped the lock


# The protocol


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 9)), max_size=8), st.randoms(use_true_random=False))
def test_replies_are_read_however_they_are_cut(items, cuts):
    values = {b"k%d" % number: Value(value, b"%d" % mark) for number, (value, mark) in enumerate(items)}
    stream = b"".join(b"VALUE %s 0 %d %s\r\n%s\r\n" % (key, len(v.value), v.cas, v.value) for key, v in values.items())
    reader = Replies(_in_pieces(stream + b"END\r\nSTORED\r\n", cuts))
    assert reader.values() == values
    assert reader.reply((b"STORED",)) == b"STORED"


def test_a_mark_names_the_life_of_the_server_in_which_it_was_read():
    reader = Replies(_once(b"VALUE k 0 1 57\r\nv\r\nEND"), b"12:1700000000")
    mark = reader.values()[b"k"].cas
    request = protocol.cas(b"k", b"w", 0, mark)
    assert request.data == b"cas k 0 0 1 57\r\nw\r\n"
    assert request.life == b"12:1700000000"
    assert protocol.cas(b"k", b"w", 0, b"57").life == b""  # of a proxy, which does not tell
    assert protocol.add(b"k", b"w", 0).life is None


def _in_pieces(stream, cuts):
    left = [stream]

    def receive(size):
        taken, left[0] = left[0][: (some := cuts.randint(1, 7))], left[0][some:]
        return taken

    return receive


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"SERVER_ERROR out of memory storing object", "MemcacheServerError"),
        (b"CLIENT_ERROR bad command line format", "MemcacheClientError"),
        (b"ERROR", "MemcacheUnknownCommandError"),
        (b"HTTP/1.1 400 Bad Request", "MemcacheUnknownError"),
        (b"VALUE k 0 x 1", "MemcacheUnknownError"),
        (b"", "MemcacheUnexpectedCloseError"),
    ],
)
def test_other_replies_are_errors_of_the_library(line, kind):
    for read in (lambda reader: reader.values(), lambda reader: reader.reply((b"STORED",))):
        with pytest.raises(pymemcache.exceptions.MemcacheError) as raised:
            read(Replies(_once(line)))
        assert type(raised.value).__name__ == kind


def test_a_proxy_that_tells_no_settings_is_taken_as_the_url_says():
    assert Replies(_once(b"ERROR")).settings() == {}
    assert Replies(_once(b"STAT a b c\r\nSTAT d\r\nEND")).settings() == {b"a": b"b c", b"d": b""}
    with pytest.raises(pymemcache.exceptions.MemcacheClientError):
        Replies(_once(b"CLIENT_ERROR unauthenticated")).settings()


def _once(line):
    pieces = [line + b"\r\n"] if line else []
    return lambda size: pieces.pop() if pieces else b""


def test_no_more_is_on_its_way_than_buffers_hold():
    requests = [
        *protocol.gets([b"k"] * 1_000),
        *[protocol.delete(b"k")] * 2_500,
        protocol.add(b"k", bytes(5_000_000), 0),
    ]
    cut = list(protocol.slices(requests))
    assert [request for some in cut for request in some] == requests
    assert all(sum(request.keys for request in some) <= 400 and len(some) <= 1_000 for some in cut)


# Errors


EXPECTED = {
    "MemcacheError": ServiceRefused,
    "MemcacheClientError": ServiceRefused,
    "MemcacheUnknownCommandError": ServiceRefused,
    "MemcacheIllegalInputError": ServiceRefused,
    "MemcacheServerError": ServiceRefused,
    "MemcacheUnknownError": ServiceRefused,
    "MemcacheUnexpectedCloseError": ServiceUnavailable,
}


def test_every_error_of_the_library_is_mapped():
    kinds = {
        name: kind
        for name, kind in vars(pymemcache.exceptions).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert set(kinds) == set(EXPECTED), "pymemcache has other errors than those that are mapped"
    for name, kind in kinds.items():
        assert issubclass(kind, CLIENT_ERRORS)
        assert type(mapped(kind(b"said"), "host:1")) is EXPECTED[name]
        assert type(mapped(kind(), "host:1")) is EXPECTED[name]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionRefusedError("refused"), ServiceUnavailable, "host:1"),
        (TimeoutError("timed out"), ServiceUnavailable, "timed out"),
        (OSError("unreachable"), ServiceUnavailable, "unreachable"),
        (ssl.SSLError("handshake"), ServiceUnavailable, "handshake"),
        (ssl.SSLCertVerificationError("self-signed"), ServiceRefused, "ca_file"),
        (pymemcache.exceptions.MemcacheClientError(b"unauthenticated"), AuthenticationFailed, "password"),
        (pymemcache.exceptions.MemcacheClientError(b"authentication failure"), AuthenticationFailed, "-Y"),
        (pymemcache.exceptions.MemcacheServerError(b"out of memory storing object"), ServiceRefused, "-M"),
        (pymemcache.exceptions.MemcacheServerError(b"object too large for cache"), ServiceRefused, "item_bytes"),
    ],
)
def test_an_error_says_what_to_do(error, kind, words):
    told = mapped(error, "host:1")
    assert type(told) is kind
    assert words in str(told)
    assert str(told).startswith("memcached host:1: ")


def test_a_batch_is_cut_where_a_group_goes_with_its_record():
    def end(task_id, member=None):
        return Transition(task_id=task_id, state=State.SUCCESS, at=1.0, member=member)

    batch = [end("a", Member("g", 0)), end("b", Member("g", 1)), end("g"), end("c")]
    assert segments(batch) == [batch[:2], batch[2:]]
