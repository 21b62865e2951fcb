"""The phrases that our prose avoids, each with what to write instead. Pure.

A reader whose first language is not English has to guess what such a phrase means. The list has only phrases with few
other meanings, so that a finding is nearly always right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

__all__ = ["PATTERNS", "Finding", "Pattern", "findings"]


@frozen
class Pattern:
    """A phrase to avoid."""

    expression: re.Pattern[str]
    advice: str


@frozen
class Finding:
    """A phrase in a text."""

    #: From 1.
    line: int
    phrase: str
    advice: str


def _pattern(expression: str, advice: str) -> Pattern:
    return Pattern(re.compile(expression.replace(" ", r"\s+")), advice)


_UNITS = "seconds|minutes|hours|days|bytes|times|characters|messages|tasks|calls|retries|attempts|members|records"
_COMPARED = "longer|more|less|fewer|later|earlier|safer|better|worse|faster|slower|larger|smaller"

PATTERNS = (
    _pattern(r"\bWho (?![^.?!]*\?)|\b[Ww]hoever\b", "name the subject: 'a caller that …'"),
    _pattern(
        r"\b(?:for|to|of|by|from|with|than|as|but|let|lets|tell|tells) who\b", "name the person: 'for a user who …'"
    ),
    _pattern(r"\b[Tt]old\b", "say which: reported, named, passed, distinguished, documented"),
    _pattern(rf"(?<![Tt]here\s)\b(?:is|are|was|were) no (?!{_COMPARED})\w+", "write 'is not a …'"),
    _pattern(r"\banew\b", "write 'again', or name what is new"),
    _pattern(rf"\bso (?:many|much) (?:{_UNITS})\b(?! that)", "write 'this many', or name the number"),
    _pattern(
        r"\b(?:after|for|waits?|takes?|lasts?|kept|within) so (?:many|much|long|often)\b(?! as| that)",
        "name the number or the limit",
    ),
    _pattern(r"\bin earnest\b", "leave it out, or say what differs"),
    _pattern(r"\bfor good\b(?! reason| measure)", "write 'permanently'"),
    _pattern(r"\b(?:[Ss]ees?|saw|seen|seeing) to\b", "write 'handles' or 'makes sure that'"),
    _pattern(r"\b[Ss]igns\b(?! of| a| the| its| requests| messages| in| up)", "write 'characters'"),
    _pattern(r"\b[Tt](?:hat|hose) of which\b", "name the thing"),
    _pattern(r"\bthe midst\b", "write 'during'"),
    _pattern(
        r"\b(?:[Ll]est|therein|thereof|whereof|wherein|henceforth|hitherto|whither|thereupon)\b", "use a plain word"
    ),
)


def findings(text: str) -> Iterator[Finding]:
    """The phrases to avoid in a text, in the order of the patterns. A phrase may continue on the next line."""
    for pattern in PATTERNS:
        for found in pattern.expression.finditer(text):
            phrase = " ".join(found[0].split())
            yield Finding(text.count("\n", 0, found.start()) + 1, phrase, pattern.advice)
