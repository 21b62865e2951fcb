"""The prose of a file, at its place: everything else becomes spaces, so that line numbers stay right. Pure."""

from __future__ import annotations

import io
import re
import tokenize

__all__ = ["prose_of_markdown", "prose_of_python"]

_FENCED = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}\S.*\n)+")
#: Code, the target of a link, and an HTML comment.
_INLINE = re.compile(r"``.+?``|`[^`]+`|(?<=])\([^)\s]*\)|<!--.*?-->|https?://\S+", re.DOTALL)
#: What an f-string inserts.
_INSERTED = re.compile(r"\{[^{}]*\}")
_MARKS = re.compile(r"^\w{0,2}(?:\"\"\"|'''|\"|')|(?:\"\"\"|'''|\"|')$|^#:?")
#: A string of fewer words is a name or a key, not a sentence.
_LEAST_WORDS = 3
_TEXTS = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def prose_of_markdown(text: str) -> str:
    """The text without code blocks, inline code and link targets."""
    for pattern in (_FENCED, _INDENTED, _INLINE):
        text = pattern.sub(_blank, text)
    return text


def prose_of_python(source: str) -> str:
    """Docstrings, comments and the texts of messages, without code in backquotes and inserted values."""
    lines = [" " * len(line) for line in source.splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _TEXTS and len(token.string.split()) >= _LEAST_WORDS:
            _copy(_MARKS.sub(_blank, token.string), token.start, lines)
    prose = "\n".join(lines)
    for pattern in (_INLINE, _INSERTED):
        prose = pattern.sub(_blank, prose)
    return prose


def _copy(text: str, start: tuple[int, int], lines: list[str]) -> None:
    """Put a text of one or more lines to its place: row (from 1) and column."""
    row, column = start
    for number, part in enumerate(text.splitlines(), row - 1):
        lines[number] = lines[number][:column] + part + lines[number][column + len(part) :]
        column = 0


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
