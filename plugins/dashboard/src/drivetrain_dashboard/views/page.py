"""What all view-models have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct, field

__all__ = ["Id", "Limit", "Offer", "Page", "Query", "Text"]

#: A text that a person types, of a bounded length.
Text = Annotated[str, Meta(max_length=2000)]
#: The id or the name of something.
Id = Annotated[str, Meta(min_length=1, max_length=2000)]
#: How many rows a page shows.
Limit = Annotated[int, Meta(ge=1, le=200)]


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the address of a page asks for. The fields are the parameters of the address."""


class Offer(Struct, frozen=True, kw_only=True):
    """An action, and whether it can be done.

    Attributes:
        action: its name, for example ``queues.pause``.
        label: what a button says.
        refusal: why it cannot be done, in words; empty: it can.
    """

    action: str
    label: str
    refusal: str = ""


class Page(Struct, frozen=True, kw_only=True):
    """A page.

    Attributes:
        at: when it was read, in Unix seconds.
        problem: why the page cannot show what it is for; empty: it can.
        notices: what the page may have missed, in words.
        offers: the actions of the page, by their names.
    """

    at: float
    problem: str = ""
    notices: tuple[str, ...] = ()
    offers: Mapping[str, Offer] = field(default_factory=dict)
