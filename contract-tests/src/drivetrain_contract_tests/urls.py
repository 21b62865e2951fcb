"""URLs made from those of a driver's author: with another namespace, and with what can never work. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, urlencode

__all__ = ["PASSWORD", "alike", "impossible", "with_namespace", "without_namespace"]

#: Put into URLs that are refused, where they may hold one; an error must not show it.
PASSWORD = "hush-hush"  # noqa: S105 - it opens nothing

_PORTS = ("0", "99999", "abc", "-1", "1.5")


def without_namespace(url: str) -> str:
    """``url`` without its option ``namespace``."""
    place, options = _parts(url)
    return _joined(place, [pair for pair in options if pair[0] != "namespace"])


def with_namespace(url: str, namespace: str) -> str:
    """``url`` with this namespace as its option, in place of the one that it names."""
    place, options = _parts(without_namespace(url))
    return _joined(place, [*options, ("namespace", namespace)])


def alike(namespace: str) -> list[str]:
    """Different namespaces that are easily taken for each other: by case, length, normalisation or characters."""
    long = namespace + "-long" * 60
    ends = (
        "",
        "-",
        "_",
        ".",
        "~",
        ":",
        "é",
        "e\u0301",
        "ß",
        "ss",
        "\ufb01",
        "fi",
        "\u017f",
        "s",
        " x",
        "/x",
        "\\x",
        "{x}",
        "*",
    )
    changed = {char: namespace.replace("-", char) for char in "_.:~/ "}
    return [namespace.upper(), *(namespace + end for end in ends), *changed.values(), f"{long}1", f"{long}2"]


def impossible(url: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """URLs that can never work: what is wrong, the URL, and words that its error must hold.

    Ports are put into URLs that name one; every other URL gets options that there are not.
    """
    place, options = _parts(url)
    unknown = [("no_such_option", "1"), ("nor_this", "2")]
    yield "two unknown options", _joined(place, [*options, *unknown]), ("no_such_option", "nor_this")
    yield "an option that is named twice", _joined(place, [*options, *unknown[:1], *unknown[:1]]), ("twice",)
    yield "a # in it", f"{_joined(place, options)}#1", ("#",)
    found = re.fullmatch(r"([^:]+://)(?:[^/@]*@)?(\[[^\]]*\]|[^:/,\[\]]*):([0-9]+)(/.*)?", place)
    if found is None:
        return
    scheme, host, _, path = found.groups(default="")
    for port in _PORTS:
        wrong = f"{scheme}user:{PASSWORD}@{host}:{port}{path}"
        yield f"the port {port}", _joined(wrong, [*options, *unknown[:1]]), (port, "no_such_option")
    yield "a space in its host", _joined(f"{scheme}user:{PASSWORD}@no host:1{path}", options), ("no host",)


def _parts(url: str) -> tuple[str, list[tuple[str, str]]]:
    place, _, query = url.partition("?")
    return place, parse_qsl(query, keep_blank_values=True)


def _joined(place: str, options: list[tuple[str, str]]) -> str:
    if not options:
        return place
    return f"{place}?{urlencode(options, quote_via=quote)}"
