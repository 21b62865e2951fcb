"""The parameters of addresses and the fields of forms, as typed values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_origin, get_type_hints

import msgspec

from drivetrain_dashboard.actions.kinds import Arguments
from drivetrain_dashboard.views.page import Query

__all__ = ["WrongInput", "read_arguments", "read_query"]

S = TypeVar("S", bound=msgspec.Struct)


class WrongInput(Exception):
    """Parameters of an address, or fields of a form, are wrong; the text says which."""


def read_query(kind: type[Query], given: Iterable[tuple[str, str]], *, of_form: bool) -> Query:
    """The parameters of a page.

    Args:
        kind: the type of the parameters.
        given: the parameters, as the address has them.
        of_form: whether a form may have made the address: empty parameters are left out then.

    Raises:
        WrongInput: one is unknown, missing, or wrong.
    """
    return _converted(kind, {name: value for name, value in given if value != "" or not of_form})


def read_arguments(kind: type[Arguments], given: Iterable[tuple[str, str]]) -> Arguments:
    """The arguments of an action in a form.

    Args:
        kind: the type of the arguments.
        given: the fields, as the form has them. Empty ones are left out.

    Raises:
        WrongInput: one is unknown, missing, or wrong.
    """
    lists = {name for name, hint in get_type_hints(kind).items() if get_origin(hint) is tuple}
    plain: dict[str, Any] = {}
    for name, value in given:
        if name in lists:
            plain.setdefault(name, []).append(value)
        elif value != "":
            plain[name] = value
    return _converted(kind, plain)


def _converted(kind: type[S], plain: Mapping[str, Any]) -> S:
    try:
        return msgspec.convert(plain, kind, strict=False)
    except msgspec.ValidationError as error:
        raise WrongInput(str(error)) from None
