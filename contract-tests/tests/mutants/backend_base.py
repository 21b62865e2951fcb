"""What broken backends are made of: the one in memory with its rule laid open, and a service of it that stops."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from drivetrain.contract import (
    DriverContext,
    Durability,
    Outcome,
    ServiceUnavailable,
    TaskRecord,
    Transition,
    apply,
    evolve,
)
from drivetrain.drivers.memory import shared_name
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain_contract_tests import BackendContract, LockContract, Service, ValueContract
from mutants.mutant import Mutant

Kind = type[MemoryBackend]


def name_of(url: str, context: DriverContext) -> str:
    return shared_name(f"memory://{url.partition('://')[2].rpartition('@')[2]}", context.namespace)


def broken(clause: str, name: str) -> Callable[[Kind], Kind]:
    """Mark a backend with the clause that it breaks, and what it does."""

    def mark(kind: Kind) -> Kind:
        kind.mutant = Mutant(name=name, clause=clause, contract=contract_of(clause), service=lambda: service_of(kind))
        return kind

    return mark


class Impatient(BackendContract):
    """The same checks: what does not come at once from this process never does."""

    prompt_seconds = 0.5
    patience_seconds = 1.0


class ImpatientValues(ValueContract):
    """The same checks, likewise."""

    prompt_seconds = 0.5
    patience_seconds = 1.0


class ImpatientLocks(LockContract):
    """The same checks, likewise."""

    prompt_seconds = 0.5
    patience_seconds = 1.0


_CONTRACTS = {"R": Impatient, "V": ImpatientValues, "L": ImpatientLocks}


def contract_of(clause: str) -> Any:
    return _CONTRACTS[clause[0]]


def service_of(kind: Kind) -> Service:
    if issubclass(kind, Remote):
        return Host(kind).service()
    return Service(backend_maker=lambda url, context: kind(name_of(url, context), context.clock))


def mutants_of(module: dict[str, Any]) -> tuple[Mutant, ...]:
    """The broken backends that a module defines."""
    return tuple(kind.mutant for kind in module.values() if isinstance(kind, type) and "mutant" in vars(kind))


class Ruled(MemoryBackend):
    """By the same rule, which children break."""

    def rule(self, before: TaskRecord | None, transition: Transition, now: float) -> TaskRecord | None:
        return apply(before, transition, now)

    def _record(self, transition: Transition, now: float) -> Outcome:
        before = self._store.find(transition.task_id, now)
        after = self.rule(before, transition, now)
        if after is None:
            return Outcome(applied=False, before=before)
        self._store.put(after)
        return Outcome(applied=True, before=before, group=self._complete_of(transition, now))


class Host:
    """A service that keeps what it has while it is stopped."""

    def __init__(self, kind: type[Remote]) -> None:
        self.kind = kind
        self.up = True
        self.made: list[Remote] = []

    def service(self) -> Service:
        return Service(
            url=lambda namespace: f"remote://user:sesame@{namespace}",
            stop=self.stop,
            start=self.start,
            backend_maker=self.make,
        )

    def make(self, url: str, context: DriverContext) -> Remote:
        backend = self.kind(url, context, self)
        self.made.append(backend)
        return backend

    def stop(self) -> None:
        self.up = False
        stores = {id(backend._store): backend._store for backend in self.made}
        for store in stores.values():
            with store.condition:
                self.kind.crash(store)
        for backend in self.made:
            backend.close()  # wakes who waits

    def start(self) -> None:
        self.up = True


class Remote(MemoryBackend):
    """Raises ServiceUnavailable while its host is stopped, and declares that what is recorded survives that."""

    capabilities = evolve(MemoryBackend.capabilities, durability=Durability.PROCESS)

    def __init__(self, url: str, context: DriverContext, host: Host) -> None:
        super().__init__(name_of(url, context), context.clock)
        self.url = url
        self.host = host

    def reach(self, call: str) -> None:
        """Raise if the host is stopped."""
        if not self.host.up:
            raise ServiceUnavailable("the service is away") from ConnectionRefusedError()

    @staticmethod
    def crash(store: Any) -> None:
        """What a crash does to what was kept."""


def _remote(name: str) -> Callable[..., Any]:
    local = getattr(MemoryBackend, name)

    def call(self: Remote, *args: Any, **kwargs: Any) -> Any:
        self.reach(name)
        answer = local(self, *args, **kwargs)
        self.reach(name)
        return answer

    return call


_CALLS = """ping record read wait renew shorten_retention forget list_tasks open_groups complete read_groups
read_members store_bodies load_bodies drop_bodies read_values write_values list_values
wait_values sweep counts"""

for _name in _CALLS.split():
    setattr(Remote, _name, _remote(_name))


def knock() -> None:
    """Open a connection, as a client does that connects when it is made."""
    with socket.socket() as door:
        door.settimeout(0.1)
        door.connect_ex(("127.0.0.1", 9))
