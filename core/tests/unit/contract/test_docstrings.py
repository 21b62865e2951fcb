"""The public docstrings of `drivetrain.contract`: ``help()`` explains every name and every field."""

import inspect
import re
from enum import Enum

import attrs
import msgspec
import pytest

from drivetrain import contract

PUBLIC = {name: getattr(contract, name) for name in contract.__all__}
CLASSES = [pytest.param(value, id=name) for name, value in PUBLIC.items() if isinstance(value, type)]
DESCRIBED = [
    pytest.param(value, id=name)
    for name, value in PUBLIC.items()
    if inspect.isfunction(value) or (isinstance(value, type) and value.__module__.startswith("drivetrain"))
]


def fields_of(kind):
    if issubclass(kind, msgspec.Struct):
        return [field.name for field in msgspec.structs.fields(kind)]
    if issubclass(kind, Enum):
        return [member.name for member in kind]
    return [field.name for field in attrs.fields(kind)] if attrs.has(kind) else []


@pytest.mark.parametrize("kind", CLASSES)
def test_every_field_is_described(kind):
    described = re.findall(r"^ {4}(\w+(?:, \w+)*): \S", inspect.getdoc(kind), re.MULTILINE)
    names = {name for group in described for name in group.split(", ")}
    assert [name for name in fields_of(kind) if name not in names] == []


@pytest.mark.parametrize("value", DESCRIBED)
def test_every_name_and_every_method_has_a_docstring(value):
    assert value.__doc__
    methods = vars(value).items() if isinstance(value, type) else ()
    functions = [(name, method) for name, method in methods if inspect.isfunction(method) and name[0] != "_"]
    assert [name for name, method in functions if not method.__doc__] == []
