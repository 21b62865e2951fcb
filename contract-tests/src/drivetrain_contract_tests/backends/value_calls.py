"""Short ways to write, read and list versioned values; what is not said does not matter to the check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drivetrain.contract import Backend, ValueOutcome, ValuePage, ValueWrite, VersionedValue

__all__ = ["SOON", "listed", "listed_keys", "outcomes", "pages", "put", "read", "remove", "stored", "write"]

#: How long values last whose end is awaited for what comes after it, in seconds.
SOON = 0.1
#: More pages than any list of a check has.
_MOST_PAGES = 20_000


def put(
    key: str = "k", value: bytes | None = b"v", *, if_version: int | None = None, seconds: float | None = None
) -> ValueWrite:
    """A write."""
    return ValueWrite(key=key, value=value, if_version=if_version, expires_in_seconds=seconds)


def remove(key: str = "k", *, if_version: int | None = None) -> ValueWrite:
    """A removal."""
    return ValueWrite(key=key, value=None, if_version=if_version)


def outcomes(backend: Backend, *writes: ValueWrite) -> list[ValueOutcome]:
    """Write a batch."""
    return list(backend.write_values(writes))


def write(
    backend: Backend,
    key: str = "k",
    value: bytes | None = b"v",
    *,
    if_version: int | None = None,
    seconds: float | None = None,
) -> ValueOutcome:
    """Make one write."""
    (outcome,) = backend.write_values([put(key, value, if_version=if_version, seconds=seconds)])
    return outcome


def stored(
    backend: Backend,
    key: str = "k",
    value: bytes = b"v",
    *,
    if_version: int | None = None,
    seconds: float | None = None,
) -> int:
    """Write one value, which must take effect; its version."""
    outcome = write(backend, key, value, if_version=if_version, seconds=seconds)
    assert outcome.written, f"a write of {key[:50]!r} with if_version={if_version} was refused by {outcome.current}"
    assert outcome.current is not None, "a value was written, and the outcome says that nothing is stored"
    assert outcome.current.value == value, "the outcome of a write has another value"
    return outcome.current.version


def read(backend: Backend, key: str = "k") -> VersionedValue | None:
    """One value."""
    (found,) = backend.read_values([key])
    return found


def pages(backend: Backend, prefix: str = "", limit: int = 100) -> Iterator[ValuePage]:
    """The pages of a list, one after the other. None may be longer than its limit, and there must be a last one."""
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = backend.list_values(prefix, limit=limit, cursor=cursor)
        assert len(page.values) <= limit, f"a page of at most {limit} values has {len(page.values)}"
        yield page
        cursor = page.cursor
        if cursor is None:
            return
    raise AssertionError(f"a list has no last page: {_MOST_PAGES} pages of at most {limit} values came")


def listed(backend: Backend, prefix: str = "", limit: int = 100) -> Sequence[tuple[str, VersionedValue]]:
    """All values of a list, page after page."""
    return [each for page in pages(backend, prefix, limit) for each in page.values]


def listed_keys(backend: Backend, prefix: str = "", limit: int = 100) -> list[str]:
    """The keys of a list, sorted; a key that is listed twice is there twice."""
    return sorted(key for key, _ in listed(backend, prefix, limit))
