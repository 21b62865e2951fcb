"""A broker whose service can be stopped and started, over the in-memory one; a correct one."""

from __future__ import annotations

from drivetrain.contract import Durability, ServiceUnavailable, evolve
from drivetrain.drivers.memory import shared_name
from drivetrain.drivers.memory.broker import MemoryBroker
from drivetrain_contract_tests import Service

__all__ = ["Remote", "RemoteBroker"]

_CALLS = """ping publish receive acknowledge release dead_letter extend sizes queues peek purge replay
drop_dead_letters"""


class RemoteBroker(MemoryBroker):
    """A client of a `Remote`."""

    capabilities = evolve(MemoryBroker.capabilities, durability=Durability.PROCESS)

    def __init__(self, name, clock, remote):
        super().__init__(name, clock)
        self.remote = remote
        remote.clients.append(self)

    def ask(self):
        """Reach the service, or raise."""
        try:
            self.remote.answer()
        except ConnectionError as error:
            raise ServiceUnavailable(f"{self.remote.shown}: {error}") from error


def _over_the_wire(name):
    def call(self, *args, **kwargs):
        self.ask()
        answer = getattr(MemoryBroker, name)(self, *args, **kwargs)
        self.ask()
        return answer

    return call


for _name in _CALLS.split():
    setattr(RemoteBroker, _name, _over_the_wire(_name))


class Remote:
    """A service in this process."""

    shown = "memory://***@service"

    def __init__(self, kind=RemoteBroker):
        self._kind = kind
        self.clients = []
        self.up = True

    def service(self):
        return Service(
            url=lambda namespace: f"memory://user:s3cret@{namespace}",
            broker_maker=self._make,
            stop=self.stop,
            start=self.start,
        )

    def _make(self, url, context):
        name = shared_name(f"memory://{url.rpartition('@')[2]}", context.namespace)
        return self._kind(name, context.clock, self)

    def answer(self):
        if not self.up:
            raise ConnectionRefusedError("nobody listens there")

    def stop(self):
        self.up = False
        for client in self.clients:
            with client._store.condition:
                client._store.condition.notify_all()

    def start(self):
        for store in {id(client._store): client._store for client in self.clients}.values():
            with store.condition:
                self._kind.recover(store)
        self.up = True


def _recover(store):
    """What a service does when it comes up again: nothing is lost, so there is nothing to do."""


RemoteBroker.recover = staticmethod(_recover)
