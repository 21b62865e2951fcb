"""What backends with broken versioned values are made of."""

from __future__ import annotations

import itertools

from drivetrain.contract import evolve, takes_effect
from drivetrain.drivers.memory.backend import MemoryBackend


class Writes(MemoryBackend):
    """Makes each write of a batch by `write`, which children break."""

    def write_values(self, writes):
        with self._store.condition:
            return [self.write(each, self._clock.monotonic()) for each in writes]

    def write(self, write, now):
        return self._store.values.write(write, now)

    def stored(self, key, now):
        return self._store.values.read(key, now)


class Numbered(Writes):
    """Gives a write the version that `version` says."""

    def version(self, key, now):
        """The version of the next write of a key."""

    def write(self, write, now):
        if takes_effect(write, self.stored(write.key, now)):
            self._store.values._versions = itertools.repeat(self.version(write.key, now))
        return super().write(write, now)


class Lasting(Writes):
    """Keeps a value as long as `lasts` says."""

    def lasts(self, seconds):
        """How long a value lasts that was written for so long."""

    def write(self, write, now):
        seconds = write.expires_in_seconds
        return super().write(evolve(write, expires_in_seconds=seconds and self.lasts(seconds)), now)


class Renames(MemoryBackend):
    """Stores a key under the text that `same` makes of it. Its lists show the key as it was written last."""

    def same(self, key):
        """What a key is stored under."""

    @property
    def shown(self):
        with self._store.condition:
            return _SHOWN.setdefault(id(self._store.values), {})

    def read_values(self, keys):
        return super().read_values([self.same(key) for key in keys])

    def write_values(self, writes):
        self.shown.update((self.same(each.key), each.key) for each in writes if each.value is not None)
        return super().write_values([evolve(each, key=self.same(each.key)) for each in writes])

    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values("", limit=limit, cursor=cursor)
        named = [(self.shown.get(key, key), value) for key, value in page.values]
        return evolve(page, values=[(key, value) for key, value in named if key.startswith(prefix)])


#: How keys were written, by the identity of their table and what they are stored under.
_SHOWN = {}
