"""What breaks careless drivers: names, sizes, bodies, and bytes that attack a loader. The only home of such probes."""

from __future__ import annotations

import json
import marshal
import pickle
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

__all__ = [
    "ALIKE",
    "BELONG_TO_NO_FORMAT",
    "BODIES",
    "DECOY",
    "LENGTHS",
    "NAMES",
    "attacks",
    "naming_values",
    "tempting_values",
]

#: Texts that systems take for each other, in groups: by Unicode normalization, case, spaces, patterns, or length.
ALIKE = (
    ("\xe9", "e\u0301"),  # NFC makes the first of the second
    ("\xc5ngstr\xf6m", "\u212bngstr\xf6m", "A\u030angstro\u0308m"),
    ("\ufb01", "fi"),  # NFKC
    ("\uff41", "a", "A"),
    ("\xdf", "ss", "SS"),
    ("\u0130", "i\u0307", "i", "I", "\u0131"),
    ("name", "name ", " name", "name\t", "name\n", "name\0", "name\xa0", "name\u200b", "Name", "name/", "/name"),
    ("ab", "a?", "a*", "a[b]", "a%", "a_", "a.", "a#", "a\\b", "*", "?", "[a-z]*", "%", "_", ".*", "#", "ab|a."),
    ("1", "01", "1.0", "+1", "\u0661", "\uff11"),
    ("None", "null", "nil", "true", "0", "-", "''", '""'),
    ("a:b", "a::b", "a/b", "a.b", "a-b", "a b", "a%3Ab", "a%253Ab", "a+b", "a{b}", "{a}b"),
    ("x" * 79 + "a", "x" * 79 + "b"),
    ("x" * 127 + "a", "x" * 127 + "b", "x" * 128 + "a"),
    ("x" * 254 + "a", "x" * 254 + "b", "x" * 255 + "a", "x" * 255 + "b", "x" * 256 + "a"),
    ("\xfc" * 300, "\xfc" * 300 + "a", "\xfc" * 300 + "b"),
    ("x" * 1_500 + "a", "x" * 1_500 + "b"),
)

#: Names of queues, headers, tasks and all else that is text.
NAMES = (
    "plain",
    "Plain",
    "with space",
    " ",
    "a:b:c",
    "a.b.c",
    "a_b_c",
    "a.b.#.*",
    "a/b/../c",
    "a%2Fb",
    "quote'\";--",
    "percent % under_score",
    "{braces}",
    "star*?[x]",
    "new\nline\r\n",
    "nul\0name",
    "Gr\xf6\xdfe \u2603 \U0001f600",
    "Gro\u0308\xdfe \u2603 \U0001f600",  # the same to the eye, and another text
    "-dash",
    "0",
    *dict.fromkeys(name for group in ALIKE for name in group if name != "0"),
    "x" * 500 + "a",
    "x" * 500 + "b",
)

#: Where counters, fields and buffers end, and one more and one less: of texts, lists and batches.
LENGTHS = tuple(sorted({limit + step for limit in (100, 2**7, 2**8, 1_000, 2**10, 2**12) for step in (-1, 0, 1)}))

BODIES = (
    b"",
    b"\0",
    b"\r\n",
    b"0",
    b"007",
    b" 1 ",
    b"null",
    b"\xff\xfe no UTF-8 \xc3",
    bytes(range(256)),
    b"\n" * 1000,
    b"\xf0" * 70_000,
    bytes(range(256)) * 1200,
    b"\xff" * 2**20 + b"end",
)

#: The module that attacks name. Nothing imports it but a loader that obeys its input.
DECOY = "drivetrain_contract_tests.decoy"

#: No format reads these: neither UTF-8 nor anything that MessagePack, CBOR, BSON or Protocol Buffers begin with.
BELONG_TO_NO_FORMAT = (b"\xc1\xff\xc1", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\xc1")

#: JSON, but for a byte that UTF-8 does not have.
_NO_UTF8 = (b'"\x80"', b'[" \xff"]', b'{"\x80": 1}', b'{"a": "\xed\xa0\x80"}')

_NAMES = [f"!!python/{tag}:{DECOY}.{name}" for tag in ("name", "object/apply", "object") for name in ("spring", "Bait")]

#: Texts that evaluate, substitute, import or include, where they are not just read.
_TEXTS = (
    f"__import__('{DECOY}', fromlist=['x']).spring()",
    f"({{}}).__class__.__base__.__subclasses__() or __import__('{DECOY}')",
    *(f"{name} [1]\n" for name in _NAMES),
    f"!!python/module:{DECOY}\n",
    f"!!python/object/new:{DECOY}.Bait\nargs: [1]\nstate: {{a: 1}}\n",
    "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><a>&b;</a>",
    "<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]><a>&c;</a>",
    "&a [*a]",
    "#include '/etc/hostname'",
    "NaN", "[Infinity]", "-Infinity", "1e999", "[nan]", '"\\ud800"', '{"\\udfff": 1}', "[1,]", "{1: 2}", "0x10", "01",
    "[" * 100_000, '{"a":' * 100_000, "9" * 5_000, "-" + "9" * 10_000, '"', "\x00", "\ufeff1", "1 2", "",
)  # fmt: skip


def tempting_values() -> list[Any]:
    """Plain values that name code, which a loader that rebuilds objects would look up. They are data like any other."""
    return [*_TEMPTING, *naming_values(_TYPE_KEYS)]


def naming_values(keys: Iterable[str]) -> Iterator[Any]:
    """Plain values that name the decoy module under each of ``keys``, as loaders write a type."""
    for key in keys:
        for named in (DECOY, f"{DECOY}.Bait", f"{DECOY}:Bait", [DECOY, "Bait"], {"module": DECOY, "name": "Bait"}):
            yield {key: named}
        yield f"{key}:{DECOY}.Bait"
        yield f"{key}{DECOY}.Bait"


#: Under these keys, formats and libraries write the type or the module of a value.
_TYPE_KEYS = (
    "__class__", "__module__", "__type__", "__import__", "__object__", "__name__", "__enum__", "__dataclass__",
    "__attrs__", "__model__", "__ref__", "_type", "_class", "_module", "$type", "$class", "$module", "$import", "$py",
    "@type", "@class", "@module", "!type", "type", "class", "module", "import", "cls", "kind", "t", "fn", "function",
    "callable", "factory", "object", "python", "py",
)  # fmt: skip


_TEMPTING: tuple[Any, ...] = (
    {"py/object": f"{DECOY}.Bait", "a": 1},
    {"py/reduce": [{"py/function": f"{DECOY}.spring"}, {"py/tuple": [1]}]},
    {"py/type": f"{DECOY}.Bait"},
    {"__class__": "Bait", "__module__": DECOY},
    {"__type__": f"{DECOY}:Bait", "__args__": [1]},
    {"$type": f"{DECOY}.Bait, drivetrain_contract_tests"},
    {"__reduce__": [f"{DECOY}.spring", []]},
    {"__import__": DECOY},
    f"__import__('{DECOY}')",
    f"!!python/name:{DECOY}.spring",
    "${jndi:ldap://localhost/a}",
)


@cache
def attacks() -> tuple[bytes, ...]:
    """Hostile bytes: for loaders of pickles, code, YAML, XML and JSON with class names, and plain nonsense."""
    code = marshal.dumps(compile(f"import {DECOY}", "bait", "exec"))
    texts = [text.encode() for text in _TEXTS]
    values = [json.dumps(value).encode() for value in tempting_values()]
    noise = (*BELONG_TO_NO_FORMAT, *_NO_UTF8, b"\x00" * 64, bytes(range(256)), b"\xff\xfe1\x00")
    return (*_pickles(), code, *texts, *values, *noise)


def _pickles() -> Iterator[bytes]:
    # Written by hand, so that the module that they name is not imported here.
    yield f"c{DECOY}\nspring\n(tR.".encode()
    yield f"(i{DECOY}\nBait\n.".encode()
    yield b"\x80\x02" + f"c{DECOY}\nBait\n".encode() + b")\x81}b."
    yield b"\x80\x04" + _short(DECOY) + _short("spring") + b"\x93)R."
    yield pickle.dumps({"a": [1, 2.5, None]}, protocol=5)


def _short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()
