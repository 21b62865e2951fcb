"""Brokers and backends that break B39 and R35: namespaces that meet, or that do not meet themselves."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from drivetrain.contract import DEFAULT_NAMESPACE
from drivetrain.drivers.memory import MemoryBackend, MemoryBroker, shared_name
from drivetrain_contract_tests import Service
from mutants import backend_base, broker_base
from mutants.mutant import Mutant

__all__ = ["MUTANTS"]

#: What makes two namespaces one: what it does with a name, in words and as a function.
ALIKE: dict[str, Callable[[str], str]] = {
    "tells no upper from lower case in namespaces": str.lower,
    "cuts the names of namespaces": lambda name: name[:60],
    "cuts the names of namespaces at a length that few have": lambda name: name[:255],
    "normalizes the names of namespaces": lambda name: unicodedata.normalize("NFC", name),
    "takes signs for the same that look alike": lambda name: unicodedata.normalize("NFKC", name),
    "folds case as for texts in any language": str.casefold,
    "replaces what is no letter or digit by an underscore": lambda name: re.sub(r"[^\w?]", "_", name),
    "leaves out what is not ASCII": lambda name: name.encode("ascii", "ignore").decode(),
    "leaves out what is no letter or digit": lambda name: re.sub(r"[^\w?]", "", name),
    "ends a namespace at a slash": lambda name: name.split("/")[0],
    "ends a namespace at a blank": lambda name: name.split(" ")[0],
}


def _parts(url: str) -> tuple[str, str | None]:
    place, _, query = url.partition("://")[2].partition("?")
    return place, parse_qs(query).get("namespace", [None])[0]


def _not_of_the_url(url: str, context: Any) -> str:
    return f"{_parts(url)[0]}?{context.namespace}"


def _not_of_the_context(url: str, _context: Any) -> str:
    place, namespace = _parts(url)
    return f"{place}?{namespace or DEFAULT_NAMESPACE}"


def _of_both(url: str, context: Any) -> str:
    place, namespace = _parts(url)
    return f"{place}?{context.namespace}?{namespace or context.namespace}"


def _apart(url: str, context: Any) -> str:
    place, namespace = _parts(url)
    return f"{place}?of-the-url-{namespace}" if namespace else f"{place}?of-the-context-{context.namespace}"


#: The name under which a driver keeps what it has, by what it does wrong with the namespace.
NAMES: dict[str, Callable[[str, Any], str]] = {
    "takes no notice of the namespace in its URL": _not_of_the_url,
    "takes no notice of the app's name": _not_of_the_context,
    "keeps a namespace of a URL apart from the same one of an app's name": _apart,
    "keeps apart what has the same namespace in the URL, and different names of the app": _of_both,
}


def _alike(change: Callable[[str], str]) -> Callable[[str, Any], str]:
    return lambda url, context: change(shared_name(url, context.namespace))


NAMES.update((name, _alike(change)) for name, change in ALIKE.items())


def _url(namespace: str) -> str:
    return f"memory://somewhere?namespace={namespace}"


def _broker(name_of: Callable[[str, Any], str], kind: type[MemoryBroker] = MemoryBroker) -> Service:
    return Service(_url, broker_maker=lambda url, context: kind(name_of(url, context), context.clock))


def _backend(name_of: Callable[[str, Any], str], kind: type[MemoryBackend] = MemoryBackend) -> Service:
    return Service(_url, backend_maker=lambda url, context: kind(name_of(url, context), context.clock))


class _ValuesAlike(MemoryBackend):
    """Its values are those of all namespaces of this name, by case."""

    def __init__(self, name: str, clock: Any) -> None:
        super().__init__(name, clock)
        self._values = MemoryBackend(name.lower(), clock)
        self.read_values = self._values.read_values
        self.write_values = self._values.write_values
        self.list_values = self._values.list_values


class _BodiesAlike(MemoryBackend):
    """Its bodies are those of all namespaces of this name, by case."""

    def __init__(self, name: str, clock: Any) -> None:
        super().__init__(name, clock)
        self._bodies = MemoryBackend(name.lower(), clock)
        self.store_bodies = self._bodies.store_bodies
        self.load_bodies = self._bodies.load_bodies
        self.drop_bodies = self._bodies.drop_bodies


class _Prefixed:
    """The part of a store whose queues begin with a prefix."""

    def __init__(self, store: Any, prefix: str) -> None:
        self._store, self._prefix = store, prefix
        self.condition = store.condition

    def queue(self, name: str) -> Any:
        return self._store.queue(self._prefix + name)

    def known(self, names: Any, clock: Any) -> Any:
        return self._store.known([self._prefix + name for name in names], clock)

    @property
    def queues(self) -> dict[str, Any]:
        queues = self._store.queues
        return {name.removeprefix(self._prefix): queues[name] for name in queues if name.startswith(self._prefix)}


class _Prefixes(MemoryBroker):
    """Writes namespaces before the names of queues, and a sign between them that both may hold."""

    sign = "."

    def __init__(self, name: str, clock: Any) -> None:
        place, _, namespace = name.partition("?")
        super().__init__(place, clock)
        self._store = _Prefixed(self._store, namespace + self.sign)  # type: ignore[assignment]


class _PrefixesByColon(_Prefixes):
    sign = ":"


def _right(url: str, context: Any) -> str:
    return shared_name(url, context.namespace)


_BROKERS: dict[str, Callable[[], Service]] = {
    **{name: (lambda name_of=name_of: _broker(name_of)) for name, name_of in NAMES.items()},
    "lists the queues of namespaces that begin with its own and a full stop": lambda: _broker(_right, _Prefixes),
    "lists the queues of namespaces that begin with its own and a colon": lambda: _broker(_right, _PrefixesByColon),
}
_BACKENDS: dict[str, Callable[[], Service]] = {
    **{name: (lambda name_of=name_of: _backend(name_of)) for name, name_of in NAMES.items()},
    "has one set of values for namespaces that are alike": lambda: _backend(_right, _ValuesAlike),
    "keeps the bodies of namespaces that are alike together": lambda: _backend(_right, _BodiesAlike),
}
MUTANTS = tuple(
    Mutant(name=name, clause=clause, contract=contract, service=made)
    for clause, contract, services in (
        ("B39", broker_base.Impatient, _BROKERS),
        ("R35", backend_base.Impatient, _BACKENDS),
    )
    for name, made in services.items()
)
