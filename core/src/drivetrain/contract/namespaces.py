"""Namespaces, which keep two apps apart in one service, and their names in a service. Pure."""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import sha256

__all__ = ["DEFAULT_NAMESPACE", "namespace_option", "service_name"]

#: The namespace of an app without a name.
DEFAULT_NAMESPACE = "drivetrain"

#: Precedes the hash in a made-up name. A namespace that contains it always gets a made-up name.
_MARK = "__"
_READABLE_CHARACTERS = 10
#: Of base 32: 120 bits, so that no one finds two namespaces with one name.
_HASH_CHARACTERS = 24


def service_name(namespace: str, *, also: str = "", longest: int = 60) -> str:
    """The name of a namespace in a service that takes only some characters. Two namespaces never have the same name.

    A plain namespace is its own name. It consists of ASCII lower-case letters, digits, underscores and ``also``, has at
    most ``longest`` characters, and contains no double underscore. Any other text becomes a readable part of at most 10
    characters, a double underscore and a hash of the text: at most 36 lower-case letters, digits and underscores. So
    truncation, case, Unicode normalisation and replaced characters never give two namespaces one name.

    Args:
        namespace: any text.
        also: more characters that the service takes in a name and distinguishes.
        longest: how many characters a plain namespace may have, 1 or more.
    """
    plain = re.fullmatch(f"[a-z0-9_{re.escape(also)}]{{1,{longest}}}", namespace)
    if plain and _MARK not in namespace:
        return namespace
    digest = b32encode(sha256(namespace.encode("utf-8", "surrogatepass")).digest()).decode("ascii").lower()
    return f"{_readable(namespace)}{_MARK}{digest[:_HASH_CHARACTERS]}"


def namespace_option(text: str) -> str:
    """Read the option ``namespace`` of a URL: any text without a space at either end.

    Raises:
        ValueError: the text is empty, or has a space at an end.
    """
    if not text or text != text.strip():
        raise ValueError(f"is {text!r}; use a name without a space at either end, or leave the option out")
    return text


def _readable(namespace: str) -> str:
    words = re.findall("[a-z0-9]+", namespace.lower())
    return "_".join(words)[:_READABLE_CHARACTERS].strip("_")
