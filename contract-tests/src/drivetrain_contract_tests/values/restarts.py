"""Versioned values across a restart of the service (V3, V10)."""

from __future__ import annotations

from functools import partial

from drivetrain.contract import Backend, Durability
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.restarts import stopped, works
from drivetrain_contract_tests.backends.timing import eventually
from drivetrain_contract_tests.backends.value_calls import SOON, listed_keys, read, stored, write
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["ValueRestartChecks"]


class ValueRestartChecks(BackendBase):
    """What survives a restart, and versions that go on."""

    @holds("V10", restarts=True)
    def test_values_survive_a_restart(self) -> None:
        """Each is as it was, with its version and its end, for old and for new objects; what was removed is not."""
        self._require_durability()
        namespace = self.service.namespace()
        backend = self.on(namespace)
        versions = {key: stored(backend, key, key.encode()) for key in ("a", "b", "removed")}
        versions["ends"] = stored(backend, "ends", b"ends", seconds=LONG)
        write(backend, "removed", None)
        stored(backend, "ends soon", seconds=SHORT)
        versions["b"] = stored(backend, "b", b"b", if_version=versions["b"])
        self._restart(backend)
        longest = SHORT + self.resolution + self.patience_seconds
        eventually(lambda: read(backend, "ends soon") is None, "a value ends after a restart", longest)
        for each in (backend, self.on(namespace)):
            assert listed_keys(each) == ["a", "b", "ends"]
            for key in ("a", "b", "ends"):
                found = read(each, key)
                assert found is not None, f"the value of {key} did not survive a restart"
                assert (found.value, found.version) == (key.encode(), versions[key])
                assert (found.expires_in_seconds is None) == (key != "ends"), f"{key} has another end after a restart"
            left = read(each, "ends")
            assert left is not None
            assert left.expires_in_seconds is not None
            assert 0 < left.expires_in_seconds <= LONG + self.resolution
        assert stored(backend, "a", if_version=versions["a"]) > versions["a"]

    @holds("V3", restarts=True)
    def test_versions_grow_across_a_restart(self) -> None:
        """Values that are stored, that were removed and that have ended: no version comes again."""
        self._require_durability()
        backend = self.fresh()
        latest = dict[str, int]()
        for _ in range(2):
            for key in ("stored", "removed"):
                latest[key] = stored(backend, key)
                latest[key] = stored(backend, key)
            write(backend, "removed", None)
            latest["ended"] = stored(backend, "ended", seconds=SOON)
            longest = SOON + self.resolution + self.patience_seconds
            eventually(lambda: read(backend, "ended") is None, "a value ends", longest)
            self._restart(backend)
            for key in ("stored", "removed", "ended"):
                version = stored(backend, key)
                assert version > latest[key], f"{version} came after {latest[key]} for the value that has been {key}"
                latest[key] = version

    def _require_durability(self) -> None:
        if self.declared().durability in (Durability.NONE, Durability.CACHE):
            raise NotDeclared("not declared: durability")

    def _restart(self, backend: Backend) -> None:
        with stopped(self.service):
            pass
        eventually(partial(works, backend), "the object works again", self.patience_seconds)
