"""Stores of versioned values that break V12 to V14, R34 and R37: waits for a change."""

from __future__ import annotations

import fnmatch
import math
import threading

from drivetrain.contract import ServiceUnavailable, changed_values, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import Remote, broken, mutants_of
from mutants.backend_tasks import pause


class Waits(MemoryBackend):
    """Waits for what `asked` makes of the request, as long as `lasts` says, and answers with `answer`."""

    def asked(self, seen, prefix):
        return seen, prefix

    def lasts(self, seconds):
        return seconds

    def answer(self, keys, seen):
        return keys

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        asked, wanted = self.asked(dict(seen), prefix)
        keys = super().wait_values(asked, prefix=wanted, timeout_seconds=self.lasts(timeout_seconds))
        return self.answer(keys, seen)


class Notifies(MemoryBackend):
    """Looks again only when `notifies` says of a write or removal that it wakes."""

    def notifies(self, write, outcome, before):
        return outcome.written

    def write_values(self, writes):
        with self._store.condition:
            now, table, wakes = self._clock.monotonic(), self._store.values, False
            outcomes = []
            for write in writes:
                before = table.read(write.key, now)
                outcomes.append(table.write(write, now))
                wakes = self.notifies(write, outcomes[-1], before) or wakes
            if wakes:
                self._store.condition.notify_all()
            return outcomes


# What wakes


@broken("V12", "looks only when the time is out")
class WakesNobody(Notifies):
    def notifies(self, write, outcome, before):
        return False


@broken("V12", "is not woken by removals")
class RemovesInSilence(Notifies):
    def notifies(self, write, outcome, before):
        return outcome.written and write.value is not None


@broken("V12", "is not woken by the first write of a key")
class CreatesInSilence(Notifies):
    def notifies(self, write, outcome, before):
        return outcome.written and before is not None


@broken("V12", "is not woken by a write of the bytes that are stored")
class WritesTheSameInSilence(Notifies):
    def notifies(self, write, outcome, before):
        return outcome.written and (before is None or before.value != write.value)


@broken("V12", "compares whether a value is stored, and not its version")
class ComparesPresence(Waits):
    def asked(self, seen, prefix):
        found = zip(seen, self.read_values(list(seen)), strict=True)
        return {key: value.version if value and seen[key] else seen[key] for key, value in found}, prefix

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        with self._store.condition:
            return self._waits.run(
                lambda: changed_values(self, *self.asked(seen, prefix)).keys,
                self._pause,
                timeout_seconds=timeout_seconds,
            )


@broken("V12", "wakes one of several that wait")
class WakesOne(MemoryBackend):
    def write_values(self, writes):
        with self._store.condition:
            now = self._clock.monotonic()
            outcomes = [self._store.values.write(write, now) for write in writes]
            self._store.condition.notify(1)
            return outcomes


@broken("V12", "does not notice that a value has expired")
class ExpiresInSilence(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        with self._store.condition:
            return self._waits.run(
                lambda: changed_values(self, seen, prefix).keys, self._pause, timeout_seconds=timeout_seconds
            )


@broken("V12", "takes a value for expired a little too early")
class ExpiresEarly(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        keys = super().wait_values(seen, prefix=prefix, timeout_seconds=min(0.1, timeout_seconds))
        if not keys:
            soon = [key for key in seen if (found := self.read_values([key])[0]) and found.expires_in_seconds]
            keys = [
                key for key, found in zip(soon, self.read_values(soon), strict=True) if found.expires_in_seconds < 60
            ]
        return keys or super().wait_values(seen, prefix=prefix, timeout_seconds=max(0.0, timeout_seconds - 0.1))


@broken("V12", "reads a prefix as a pattern")
class ReadsAPattern(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        if "_match" not in vars(self):
            return super().list_values(prefix, limit=limit, cursor=cursor)
        page = super().list_values("", limit=limit, cursor=cursor)
        values = [(key, value) for key, value in page.values if fnmatch.fnmatchcase(key, prefix + "*")]
        return evolve(page, values=values)

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        with self._store.condition:
            self._match = True
            try:
                return super().wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)
            finally:
                vars(self).pop("_match", None)


@broken("V12", "ignores the case of a prefix")
class IgnoresCase(Waits):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        if prefix is None:
            return super().wait_values(seen, timeout_seconds=timeout_seconds)
        with self._store.condition:
            stored = self._store.values._values
            keys = {key for key in stored if key.lower().startswith(prefix.lower())}
            changed = [key for key in keys if stored[key].version != seen.get(key, 0)]
            return changed or super().wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)


@broken("V12", "waits for the keys, and not for the prefix, if there are both")
class KeysOrPrefix(Waits):
    def asked(self, seen, prefix):
        return seen, None if seen else prefix


@broken("V12", "waits for the prefix, and not for keys beside it")
class PrefixAlone(Waits):
    def asked(self, seen, prefix):
        return (seen if prefix is None else {key: seen[key] for key in seen if key.startswith(prefix)}), prefix


@broken("V12", "does not notice that a value below the prefix was removed")
class SeesWhatIsListed(Waits):
    def asked(self, seen, prefix):
        if prefix is None:
            return seen, prefix
        with self._store.condition:
            stored = self._store.values._values
            return {key: seen[key] for key in seen if key in stored or not key.startswith(prefix)}, prefix

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        with self._store.condition:
            return self._waits.run(
                lambda: changed_values(self, *self.asked(seen, prefix)).keys,
                self._pause,
                timeout_seconds=timeout_seconds,
            )


@broken("V12", "waits for the first 64 keys only")
class WaitsFor64(Waits):
    def asked(self, seen, prefix):
        return dict(list(seen.items())[:64]), prefix


@broken("V12", "looks at the first page of a prefix only")
class LooksAtOnePage(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, cursor=None) if vars(self).get("_looks") else page

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        with self._store.condition:
            self._looks = True
            try:
                return super().wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)
            finally:
                self._looks = False


@broken("V12", "names all keys that it was asked for")
class NamesAll(Waits):
    def answer(self, keys, seen):
        return [*seen, *(key for key in keys if key not in seen)] if keys else keys


@broken("V12", "names the prefix, and not the key")
class NamesThePrefix(Waits):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        keys = super().wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)
        return [prefix if prefix and key.startswith(prefix) else key for key in keys]


@broken("V12", "hears nothing when it waits for the same keys again")
class HearsOnce(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        heard = self.__dict__.setdefault("heard", set())
        if set(seen) <= heard and not changed_values(self, seen, prefix).keys:
            threading.Event().wait(timeout_seconds)
            return changed_values(self, seen, prefix).keys
        heard.update(seen)
        return super().wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)


@broken("V12", "hears only what its own object writes")
class HearsItself(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.written = threading.Event()

    def write_values(self, writes):
        outcomes = super().write_values(writes)
        self.written.set()
        return outcomes

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        self.written.clear()
        keys = super().wait_values(seen, prefix=prefix, timeout_seconds=0.0)
        if not keys and timeout_seconds:
            self.written.wait(timeout_seconds)
            keys = super().wait_values(seen, prefix=prefix, timeout_seconds=0.0)
        return keys


@broken("V12", "cuts keys at 255 characters when it waits")
class CutsKeys(Waits):
    def asked(self, seen, prefix):
        return {key[:255]: version for key, version in seen.items()}, prefix


# What is not missed


@broken("V13", "listens, and does not look")
class DoesNotLook(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        with self._store.condition:
            if timeout_seconds:
                self._store.condition.wait(timeout_seconds)
            return changed_values(self, seen, prefix).keys


@broken("V13", "looks first and listens afterwards")
class LooksThenListens(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        if keys := changed_values(self, seen, prefix).keys:
            return keys
        pause(0.02)
        with self._store.condition:
            self._store.condition.wait(timeout_seconds)
            return changed_values(self, seen, prefix).keys


@broken("V13", "compares with what is stored when the wait begins")
class ComparesWithNow(Waits):
    def asked(self, seen, prefix):
        found = zip(seen, self.read_values(list(seen)), strict=True)
        return {key: 0 if value is None else value.version for key, value in found}, prefix


@broken("V13", "is woken by larger versions only, so a value that is gone is missed")
class LargerVersionsOnly(Waits):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        stored = {key: value for key, value in zip(seen, self.read_values(list(seen)), strict=True) if value}
        present = {key: version for key, version in seen.items() if key in stored or not version}
        return super().wait_values(present, prefix=prefix, timeout_seconds=timeout_seconds)


@broken("V13", "takes a key that was removed and written again for the same")
class ComparesBytes(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        stored = {key: value for key, value in zip(seen, self.read_values(list(seen)), strict=True) if value}
        same = {key: value.version for key, value in stored.items() if seen[key] and value.value == b"v"}
        return super().wait_values({**seen, **same}, prefix=prefix, timeout_seconds=timeout_seconds)


# What does not wake


@broken("V14", "returns when anything was written")
class WokenByAll(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        if not seen and prefix is None:
            return []
        with self._store.condition:
            if not changed_values(self, seen, prefix).keys and timeout_seconds:
                self._store.condition.wait(timeout_seconds)
            return changed_values(self, seen, prefix).keys


@broken("V14", "takes a refused write for a change")
class WokenByRefusals(MemoryBackend):
    def write_values(self, writes):
        outcomes = super().write_values(writes)
        with self._store.condition:
            refused = [write.key for write, outcome in zip(writes, outcomes, strict=True) if not outcome.written]
            _REFUSED.setdefault(id(self._store), set()).update(refused)
            self._store.condition.notify_all()
        return outcomes

    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        if not seen and prefix is None:
            return []
        with self._store.condition:
            return self._waits.run(
                lambda: (
                    changed_values(self, seen, prefix).keys
                    or [key for key in seen if key in _REFUSED.get(id(self._store), ())]
                ),
                self._pause,
                timeout_seconds=timeout_seconds,
            )


#: Keys whose write was refused, by the identity of their store.
_REFUSED = {}


@broken("V14", "does not wait")
class DoesNotWait(Waits):
    def lasts(self, seconds):
        return 0.0


@broken("V14", "rounds waits up to whole seconds")
class WaitsForWholeSeconds(Waits):
    def lasts(self, seconds):
        return math.ceil(seconds)


@broken("V14", "takes a wait that rounds to no milliseconds for one without end")
class WaitsWithoutEnd(Waits):
    def lasts(self, seconds):
        return 60.0 if 0 < seconds < 0.001 else seconds


@broken("V14", "takes no prefix for the empty one")
class NoPrefixIsAll(Waits):
    def asked(self, seen, prefix):
        return seen, prefix or ""


@broken("V14", "waits where there is nothing to wait for")
class WaitsForNothing(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        if not seen and prefix is None:
            threading.Event().wait(timeout_seconds)
        return super().wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)


# Its life


@broken("R34", "waits on for values when it is closed")
class WaitsOnForValues(MemoryBackend):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        with self._store.condition:
            end = self._clock.monotonic() + timeout_seconds
            while not (keys := changed_values(self, seen, prefix).keys):
                if not self._store.condition.wait(max(0.0, end - self._clock.monotonic())):
                    break
            return keys


@broken("R37", "says that no value has changed while its service is away")
class NothingHasChanged(Remote):
    def wait_values(self, seen, *, prefix=None, timeout_seconds):
        try:
            return super().wait_values(seen, prefix=prefix, timeout_seconds=timeout_seconds)
        except ServiceUnavailable:
            return []


MUTANTS = mutants_of(globals())
