"""The text protocol of Memcached, and the errors of pymemcache as errors of the contract."""

import ssl

import pymemcache.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import AuthenticationFailed, ServiceRefused, ServiceUnavailable
from drivetrain_memcache import protocol
from drivetrain_memcache.errors import CLIENT_ERRORS, mapped
from drivetrain_memcache.protocol import EXPIRED, NEVER, Item, ReplyReader, exptime

NOW = 1_700_000_000.0
DAY = 86_400


# Expiry times


@pytest.mark.parametrize(
    ("seconds", "expires"),
    [
        (0.0, EXPIRED),
        (-1.0, EXPIRED),
        (0.2, 3),
        (1.0, 3),
        (59.5, 62),
        (30 * DAY - 2, 30 * DAY),
        # From here on Memcached reads the number as Unix seconds.
        (30 * DAY - 1, int(NOW) + 30 * DAY + 1),
        (30 * DAY + 0.5, int(NOW) + 30 * DAY + 3),
        (2**31 - 4 - NOW, 2**31 - 2),
        # It reads 32 bits. The item's own end decides.
        (2**31 - NOW, NEVER),
        (1e300, NEVER),
        (float("inf"), NEVER),
    ],
)
def test_an_expiry_time_is_never_early(seconds, expires):
    assert exptime(NOW + seconds, NOW) == expires


def test_an_item_without_end_never_expires():
    assert exptime(None, NOW) == NEVER


# Requests and replies


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 9)), max_size=8), st.randoms(use_true_random=False))
def test_replies_are_read_however_they_are_cut(values, cuts):
    items = {b"k%d" % number: Item(value, b"%d" % cas) for number, (value, cas) in enumerate(values)}
    stream = b"".join(b"VALUE %s 0 %d %s\r\n%s\r\n" % (key, len(v.value), v.cas, v.value) for key, v in items.items())
    reader = ReplyReader(_in_pieces(stream + b"END\r\nSTORED\r\n", cuts))
    assert reader.items() == items
    assert reader.answer((b"STORED",)) == b"STORED"


def test_a_cas_token_names_the_run_of_the_server_in_which_it_was_read():
    reader = ReplyReader(_once(b"VALUE k 0 1 57\r\nv\r\nEND"), b"12:1700000000")
    token = reader.items()[b"k"].cas
    request = protocol.cas(b"k", b"w", 0, token)
    assert request.data == b"cas k 0 0 1 57\r\nw\r\n"
    assert request.run == b"12:1700000000"
    assert protocol.cas(b"k", b"w", 0, b"57").run == b""  # a proxy does not reveal it
    assert protocol.add(b"k", b"w", 0).run is None


def _in_pieces(stream, cuts):
    rest = [stream]

    def receive(size):
        piece, rest[0] = rest[0][: (some := cuts.randint(1, 7))], rest[0][some:]
        return piece

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
def test_other_replies_are_errors_of_pymemcache(line, kind):
    for read in (lambda reader: reader.items(), lambda reader: reader.answer((b"STORED",))):
        with pytest.raises(pymemcache.exceptions.MemcacheError) as raised:
            read(ReplyReader(_once(line)))
        assert type(raised.value).__name__ == kind


def test_a_proxy_without_settings_has_none():
    assert ReplyReader(_once(b"ERROR")).stats() == {}
    assert ReplyReader(_once(b"STAT a b c\r\nSTAT d\r\nEND")).stats() == {b"a": b"b c", b"d": b""}
    with pytest.raises(pymemcache.exceptions.MemcacheClientError):
        ReplyReader(_once(b"CLIENT_ERROR unauthenticated")).stats()


def _once(line):
    pieces = [line + b"\r\n"] if line else []
    return lambda size: pieces.pop() if pieces else b""


def test_a_batch_is_not_larger_than_the_buffers():
    requests = [
        *protocol.gets([b"k"] * 1_000),
        *[protocol.delete(b"k")] * 2_500,
        protocol.add(b"k", bytes(5_000_000), 0),
    ]
    cut = list(protocol.batches(requests))
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


def test_every_error_of_pymemcache_is_mapped():
    kinds = {
        name: kind
        for name, kind in vars(pymemcache.exceptions).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert set(kinds) == set(EXPECTED), "pymemcache has other errors than those that are mapped"
    for name, kind in kinds.items():
        assert issubclass(kind, CLIENT_ERRORS)
        assert type(mapped(kind(b"text"), "host:1")) is EXPECTED[name]
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
    service_error = mapped(error, "host:1")
    assert type(service_error) is kind
    assert words in str(service_error)
    assert str(service_error).startswith("memcached host:1: ")
