"""What the tests of the memcache driver share: records, URLs, errors, and the keys on a server."""

from urllib.parse import unquote_to_bytes

import pytest

from drivetrain.contract import Completion, Member, ServiceError, State, Transition
from drivetrain_memcache.keys import Kind


def transition(task_id, state=State.SUCCESS, **fields):
    """A transition; the fields that a test does not name do not matter to it."""
    return Transition(task_id=task_id, state=state, at=1.0, **fields)


def done(index, payload=b"p", group_id="g", *, failed=False):
    """The completion of a member."""
    return Completion(member=Member(group_id, index), payload=payload, failed=failed)


def url_of(*servers, prefix="a", **options):
    """The URL of a backend on these servers."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"memcache://{hosts}/?namespace={prefix}" + "".join(f"&{name}={value}" for name, value in options.items())


def error_of(call):
    """The error that a call must raise."""
    with pytest.raises(ServiceError) as raised:
        call()
    return raised.value


def parts(backend):
    """The names of all parts of large values on the only server of this backend."""
    (server,) = backend._servers.names
    lines = backend._servers._lines(server, b"lru_crawler metadump hash")
    marked = backend._keys._prefix[Kind.PART].replace(b":", b"%3A")
    return [line[4:].split(b" ")[0].replace(b"%3A", b":") for line in lines if line[4:].startswith(marked)]


def keys_of(backend, server):
    """All that the server keeps for this backend."""
    lines = backend._servers._lines(f"127.0.0.1:{server.port}", b"lru_crawler metadump hash")
    names = [unquote_to_bytes(line[4 : line.index(b" ")]) for line in lines if line.startswith(b"key=")]
    return [name for name in names if name.startswith(backend._keys.beginning)]
