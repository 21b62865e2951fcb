"""Bodies that are too large for the broker: values under keys, kept until they are dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from drivetrain.contract import Clock, ServiceUnavailable
from drivetrain_memcache.catalogue import ROUNDS, pause
from drivetrain_memcache.expiry import AT_ONCE
from drivetrain_memcache.keys import Key, Keys, Kind
from drivetrain_memcache.store import Found, Store, Write

__all__ = ["Bodies"]


class Bodies:
    """See the module. Thread-safe."""

    def __init__(self, store: Store, keys: Keys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    def store(self, bodies: Mapping[str, bytes]) -> None:
        """Keep these, in place of what is there."""
        left = {self._keys.named(Kind.BODY, name): body for name, body in bodies.items()}
        found: dict[Key, Found] = {}  # most bodies are new: the first try asks nothing
        for number in range(ROUNDS):
            pause(self._clock, number)
            stored, _ = self._store.change([Write(key, body, before=found.get(key)) for key, body in left.items()])
            left = {key: body for (key, body), fine in zip(left.items(), stored, strict=True) if not fine}
            if not left:
                return
            found = self._store.fetch(left)
        raise ServiceUnavailable("bodies are stored again and again by others; try again")

    def load(self, names: Sequence[str]) -> list[bytes | None]:
        """These, in this order; None where there is none."""
        keys = [self._keys.named(Kind.BODY, name) for name in names]
        found = self._store.fetch(keys)
        return [found[key].value if key in found else None for key in keys]

    def drop(self, names: Iterable[str]) -> None:
        """Drop these."""
        keys = [self._keys.named(Kind.BODY, name) for name in dict.fromkeys(names)]
        for number in range(ROUNDS):
            pause(self._clock, number)
            found = self._store.fetch(keys)
            keys = [key for key in keys if key in found]
            stored, _ = self._store.change([Write(key, b"", AT_ONCE, found[key]) for key in keys])
            keys = [key for key, fine in zip(keys, stored, strict=True) if not fine]
            if not keys:
                return
        raise ServiceUnavailable("bodies are stored again and again by others; try again")
