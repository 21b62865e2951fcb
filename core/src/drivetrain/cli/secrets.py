"""Removes passwords from printed text. Drivers redact their own messages, but the errors that cause them may not."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from drivetrain.contract import redact

__all__ = ["without_secrets"]

#: Shorter passwords would match parts of ordinary words.
_SHORTEST_PASSWORD = 4


def without_secrets(text: str, urls: Iterable[str]) -> str:
    """``text`` without the secrets of ``urls``."""
    for url in sorted(set(urls), key=len, reverse=True):
        text = text.replace(url, redact(url))
        for password in _passwords(url):
            text = text.replace(password, "***")
    return text


def _passwords(url: str) -> list[str]:
    try:
        password = urlsplit(url).password or ""
    except ValueError:
        return []
    return [form for form in (password, unquote(password)) if len(form) >= _SHORTEST_PASSWORD]
