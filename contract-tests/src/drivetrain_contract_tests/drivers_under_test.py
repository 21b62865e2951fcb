"""Which driver a contract is about: its class, and the distribution that it comes from."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any

import attrs
from attrs import frozen

from drivetrain.app.entry_points import DriverEntries, Kind
from drivetrain.contract import DrivetrainError
from drivetrain_contract_tests.service import Service

__all__ = ["Subject", "of_service"]


@frozen
class Subject:
    """A driver that a contract is about."""

    kind: Kind
    #: The URL scheme, or the name of the serializer or policy; empty when it has none.
    name: str
    #: Makes it, or gives it.
    made: Callable[[], object]
    #: Whether it was found by its entry point; otherwise by its module.
    installed: bool = True

    def document(self) -> dict[str, Any]:
        """As plain values, for the report. Never fails: a driver that cannot be made says why."""
        told: dict[str, Any] = {"kind": str(self.kind), "name": self.name, "class": None, "capabilities": None}
        module = ""
        try:
            driver = self.made()
        except Exception as error:  # noqa: BLE001  a stranger's driver; its checks tell the same at length
            told["error"] = f"{type(error).__name__}: {error}"
        else:
            module = type(driver).__module__
            told.update({"class": f"{module}.{type(driver).__qualname__}", "capabilities": _capabilities(driver)})
            _close(driver)
        return {**told, **self._origin(module)}

    def _origin(self, module: str) -> dict[str, str | None]:
        if self.installed:
            with suppress(DrivetrainError):
                claim = DriverEntries({}).find(self.kind, self.name)
                return {"distribution": claim.distribution, "version": claim.version}
        for name in importlib.metadata.packages_distributions().get(module.partition(".")[0], []):
            return {"distribution": name, "version": importlib.metadata.version(name)}
        return {"distribution": None, "version": None}


def of_service(kind: Kind, service: Service) -> Subject:
    """The broker or backend of a service."""
    scheme = service.url(service.namespace()).partition("://")[0].lower()
    if kind is Kind.BROKER:
        return Subject(kind, scheme, lambda: service.broker(service.namespace()), service.broker_maker is None)
    return Subject(kind, scheme, lambda: service.backend(service.namespace()), service.backend_maker is None)


def _capabilities(driver: object) -> Mapping[str, Any] | None:
    declared = getattr(driver, "capabilities", None)
    if declared is None or not attrs.has(type(declared)):
        return None
    return {name: _shown(name, value) for name, value in attrs.asdict(declared).items()}


def _shown(name: str, value: Any) -> Any:
    # A store names the host and the database on which the suite was run: the report says only that there is one.
    if name == "store":
        return value if value is None else "declared"
    return value.value if isinstance(value, Enum) else value


def _close(driver: object) -> None:
    close = getattr(driver, "close", None)
    if close is not None:
        with suppress(Exception):
            close()
