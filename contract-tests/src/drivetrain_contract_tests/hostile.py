"""Bytes that attack whoever loads them, and the watch that tells whether they have got through."""

from __future__ import annotations

import json
import marshal
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["BELONG_TO_NO_FORMAT", "attacks", "tempting_values", "watched"]

_BAIT = "drivetrain_contract_tests.attack_payloads"

#: No format reads these: neither UTF-8 nor anything that MessagePack, CBOR, BSON or Protocol Buffers begin with.
BELONG_TO_NO_FORMAT = (b"\xc1\xff\xc1", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\xc1")

#: The audit events of Python that loading plain values has no business with.
_FORBIDDEN = ("import", "exec", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "shutil.", "urllib.")

#: JSON, but for a byte of a text that is no UTF-8.
_NO_UTF8 = (b'"\x80"', b'[" \xff"]', b'{"\x80": 1}', b'{"a": "\xed\xa0\x80"}')

_NAMES = [f"!!python/{tag}:{_BAIT}.{name}" for tag in ("name", "object/apply", "object") for name in ("spring", "Bait")]

#: Texts that evaluate, substitute, import or include, where they are not just read.
_TEXTS = (
    f"__import__('{_BAIT}', fromlist=['x']).spring()",
    f"({{}}).__class__.__base__.__subclasses__() or __import__('{_BAIT}')",
    *(f"{name} [1]\n" for name in _NAMES),
    f"!!python/module:{_BAIT}\n",
    f"!!python/object/new:{_BAIT}.Bait\nargs: [1]\nstate: {{a: 1}}\n",
    "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><a>&b;</a>",
    "<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]><a>&c;</a>",
    "&a [*a]",
    "#include '/etc/hostname'",
    "NaN", "[Infinity]", "-Infinity", "1e999", "[nan]", '"\\ud800"', '{"\\udfff": 1}', "[1,]", "{1: 2}", "0x10", "01",
    "[" * 100_000, '{"a":' * 100_000, "9" * 5_000, "-" + "9" * 10_000, '"', "\x00", "\ufeff1", "1 2", "",
)  # fmt: skip


def tempting_values() -> list[Any]:
    """Plain values that name code, which somebody who rebuilds objects would look up. They are data like any other."""
    return [
        {"py/object": f"{_BAIT}.Bait", "a": 1},
        {"py/reduce": [{"py/function": f"{_BAIT}.spring"}, {"py/tuple": [1]}]},
        {"py/type": f"{_BAIT}.Bait"},
        {"__class__": "Bait", "__module__": _BAIT},
        {"__type__": f"{_BAIT}:Bait", "__args__": [1]},
        {"$type": f"{_BAIT}.Bait, drivetrain_contract_tests"},
        {"__reduce__": [f"{_BAIT}.spring", []]},
        {"__import__": _BAIT},
        f"__import__('{_BAIT}')",
        f"!!python/name:{_BAIT}.spring",
        "${jndi:ldap://localhost/a}",
    ]


@cache
def attacks() -> tuple[bytes, ...]:
    """Hostile bytes: for loaders of pickles, code, YAML, XML and JSON with class names, and plain nonsense."""
    code = marshal.dumps(compile(f"import {_BAIT}", "bait", "exec"))
    texts = [text.encode() for text in _TEXTS]
    values = [json.dumps(value).encode() for value in tempting_values()]
    noise = (*BELONG_TO_NO_FORMAT, *_NO_UTF8, b"\x00" * 64, bytes(range(256)), b"\xff\xfe1\x00")
    return (*_pickles(), code, *texts, *values, *noise)


def _pickles() -> Iterator[bytes]:
    # Written by hand, so that the module that they name is not imported here.
    yield f"c{_BAIT}\nspring\n(tR.".encode()
    yield f"(i{_BAIT}\nBait\n.".encode()
    yield b"\x80\x02" + f"c{_BAIT}\nBait\n".encode() + b")\x81}b."
    yield b"\x80\x04" + _short(_BAIT) + _short("spring") + b"\x93)R."
    yield pickle.dumps({"a": [1, 2.5, None]}, protocol=5)


def _short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


_watch = threading.local()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    seen: list[str] | None = getattr(_watch, "seen", None)
    if seen is not None and event.startswith(_FORBIDDEN):
        seen.append(f"{event} {arguments[0] if arguments else ''}".strip()[:100])


@cache
def _begin_auditing() -> None:
    # Python has no way to take a hook back: one for the process, which looks only where a watch is on.
    sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[Callable[[], list[str]]]:
    """Watch this thread meanwhile; gives a function that tells what it has done that loading must not do."""
    _begin_auditing()
    sys.modules.pop(_BAIT, None)
    before = set(sys.modules)
    seen: list[str] = []
    _watch.seen = seen
    try:
        yield lambda: [*seen, *(f"imported {name}" for name in sorted(set(sys.modules) - before)), *_sprung()]
    finally:
        del _watch.seen


def _sprung() -> list[str]:
    bait = sys.modules.get(_BAIT)
    return [f"{_BAIT} was {how}" for how in bait.sprung] if bait is not None else []
