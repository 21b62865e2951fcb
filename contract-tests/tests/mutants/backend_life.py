"""Backends that break R33 to R38: their objects, their namespaces, and restarts of their service."""

from __future__ import annotations

from itertools import count

from drivetrain.contract import ServiceError, ServiceUnavailable
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import Remote, broken, knock, mutants_of
from mutants.backend_tasks import pause


@broken("R33", "mixes up the answers of threads")
class MixesUp(MemoryBackend):
    def load_bodies(self, keys):
        self.answer = super().load_bodies(keys)
        pause(0.001)
        return self.answer


@broken("R33", "reads everything when it is asked for nothing")
class ReadsEverything(MemoryBackend):
    def read_groups(self, group_ids):
        return super().read_groups(group_ids or ["g"])


@broken("R33", "fails on an empty batch")
class FailsOnNothing(MemoryBackend):
    def renew(self, leases):
        if not leases:
            raise ServiceError("a batch holds at least one entry")
        return super().renew(leases)


@broken("R33", "works on one thing at a time, and does not say so")
class OneAtATime(MemoryBackend):
    busy = False

    def complete(self, completions):
        if self.busy:
            raise ServiceError("the connection is used by another thread")
        self.busy = True
        pause(0.001)
        told = super().complete(completions)
        self.busy = False
        return told


@broken("R34", "cannot be closed twice")
class ClosesOnce(MemoryBackend):
    closed = False

    def close(self):
        if self.closed:
            raise ServiceError("it is closed already")
        self.closed = True
        super().close()


@broken("R34", "cannot be closed before it was used")
class ClosesWhatWasUsed(MemoryBackend):
    used = False

    def record(self, transitions):
        self.used = True
        return super().record(transitions)

    def close(self):
        if not self.used:
            raise ServiceError("it is not connected")
        super().close()


@broken("R34", "waits on when it is closed")
class WaitsOn(MemoryBackend):
    def close(self):
        pass


@broken("R34", "cannot be used when it was closed")
class EndsWithItsClose(MemoryBackend):
    ended = False

    def record(self, transitions):
        if self.ended:
            raise ServiceError("it is closed")
        return super().record(transitions)

    def close(self):
        self.ended = True
        super().close()


@broken("R34", "closes for all")
class ClosesForAll(MemoryBackend):
    def close(self):
        super().close()
        self._store.bodies.clear()


@broken("R35", "shares its state between namespaces")
class OneNamespace(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__("shared by all", clock)


@broken("R35", "shares nothing between its objects")
class NothingShared(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__("", clock)


@broken("R35", "has one set of values for all namespaces")
class ValuesOfAll(MemoryBackend):
    values = MemoryBackend("values of all", None)

    def write_values(self, writes):
        self.values._clock = self._clock
        return self.values.write_values(writes)

    def read_values(self, keys):
        self.values._clock = self._clock
        return self.values.read_values(keys)


@broken("R35", "answers from a cache of its own")
class AnswersFromACache(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.cache = {}

    def read(self, task_ids):
        found = super().read(task_ids)
        self.cache.update({each.task_id: each for each in found if each})
        return [self.cache.get(task_id) for task_id in task_ids]

    def load_bodies(self, keys):
        if not hasattr(self, "bodies"):
            self.bodies = dict(self._store.bodies)
        return [self.bodies.get(key) for key in keys]

    def ping(self):
        self.load_bodies([])


# R36 to R38: a service that is stopped and started again


@broken("R36", "loses what it keeps beside its records")
class LosesBodies(Remote):
    @staticmethod
    def crash(store):
        store.bodies.clear()


@broken("R36", "loses the members of groups")
class LosesMembers(Remote):
    @staticmethod
    def crash(store):
        for found in store.groups.values():
            found.members.clear()


@broken("R36", "loses its values")
class LosesValues(Remote):
    @staticmethod
    def crash(store):
        for key in list(store.values._values):
            store.values._remove(key)


@broken("R36", "writes behind, and loses the last write")
class LosesTheLast(Remote):
    @staticmethod
    def crash(store):
        if store.tasks:
            store.drop(list(store.tasks)[-1])


@broken("R36", "keeps nothing of tasks that have not ended")
class LosesTheUnfinished(Remote):
    @staticmethod
    def crash(store):
        for task_id in list(store.unfinished):
            store.drop(task_id)


@broken("R37", "knows of nothing while its service is away")
class KnowsNothing(Remote):
    def read(self, task_ids):
        return super().read(task_ids) if self.host.up else [None] * len(task_ids)


@broken("R37", "says that nothing has ended while its service is away")
class NothingHasEnded(Remote):
    def wait(self, task_ids, *, timeout_seconds):
        try:
            return super().wait(task_ids, timeout_seconds=timeout_seconds)
        except ServiceUnavailable:
            return {}


@broken("R37", "does not find its service again")
class NeverAgain(Remote):
    lost = False

    def reach(self, call):
        self.lost = self.lost or not self.host.up
        if self.lost:
            raise ServiceUnavailable("the connection is closed")


@broken("R37", "tells an operator's error while its service is away")
class AnotherError(Remote):
    def reach(self, call):
        if not self.host.up:
            raise ServiceError("the command failed")


@broken("R38", "lets errors of its client through")
class ClientError(Remote):
    def reach(self, call):
        if not self.host.up:
            raise ConnectionRefusedError("111")


@broken("R38", "shows its password in errors")
class ShowsPassword(Remote):
    def reach(self, call):
        if not self.host.up:
            raise ServiceUnavailable(f"cannot reach {self.url}")


@broken("R38", "shows its password to whoever prints it")
class PrintsPassword(Remote):
    def __repr__(self):
        return f"Remote({self.url})"


@broken("R38", "connects when it is made")
class ConnectsAtOnce(Remote):
    def __init__(self, url, clock, host):
        super().__init__(url, clock, host)
        self.reach("ping")


@broken("R38", "looks for its service when it is made")
class LooksForItsService(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        knock()


@broken("R38", "lets an error of its encoder through")
class EncoderError(MemoryBackend):
    def store_bodies(self, bodies):
        super().store_bodies({key.encode().decode(): body for key, body in bodies.items()})


@broken("R38", "lets an error through when a time is too large")
class TimeError(MemoryBackend):
    def shorten_retention(self, task_ids, *, retention_seconds):
        super().shorten_retention(task_ids, retention_seconds=int(retention_seconds * 1000) / 1000)


@broken("L5", "counts tokens from one after a restart")
class TokensBeginAgain(Remote):
    @staticmethod
    def crash(store):
        store.values._versions = count(1)


MUTANTS = mutants_of(globals())
