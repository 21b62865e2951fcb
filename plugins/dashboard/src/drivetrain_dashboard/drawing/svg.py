"""Elements of SVG as escaped text. Pure."""

from __future__ import annotations

import math
import re

from markupsafe import Markup, escape

__all__ = ["Child", "coordinate", "element", "group_at", "joined", "label", "shortened", "xml_text"]

#: What XML 1.0 forbids, lone surrogates included. One of them would make a document unreadable, even if escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Child = str | Markup


def xml_text(text: str) -> str:
    """``text`` with a replacement character for each character that XML forbids. It is not escaped yet."""
    return _FORBIDDEN.sub("\ufffd", text)


def element(tag: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element.

    Args:
        tag: its name.
        children: its content. A plain string is escaped; `Markup` is taken as it is.
        attributes: by name, without those that are None. ``class_`` becomes ``class``, and ``_`` becomes ``-``. Numbers
            are rounded to a tenth.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_escaped(value if isinstance(value, str) else coordinate(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    content = "".join(map(_escaped, children))
    return Markup(f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>")  # noqa: S704 - escaped


def joined(parts: list[Markup]) -> Markup:
    """All parts, one after the other."""
    return Markup("").join(parts)


def group_at(x: float, y: float, *children: Child, **attributes: str | float | None) -> Markup:
    """A group whose own coordinates begin at ``x`` and ``y``."""
    return element("g", *children, transform=f"translate({coordinate(x)} {coordinate(y)})", **attributes)


def label(x: float, y: float, text: str, **attributes: str | float | None) -> Markup:
    """A line of text at ``x``, with its baseline at ``y``."""
    return element("text", text, x=x, y=y, **attributes)


def coordinate(value: float) -> str:
    """A number as SVG reads it, rounded to a tenth. What is not finite becomes 0."""
    return f"{round(value, 1):.12g}" if math.isfinite(value) else "0"


def shortened(text: str, characters: int) -> str:
    """``text`` in one line of at most this many characters. The end of a name says most, so the start is cut."""
    flat = " ".join(xml_text(text).split())
    return flat if len(flat) <= characters else "…" + flat[len(flat) - characters + 1 :]


def _escaped(child: Child) -> str:
    return child if isinstance(child, Markup) else str(escape(xml_text(child)))
