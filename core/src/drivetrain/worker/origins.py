"""Where functions were defined, and whether one is another one that was defined again."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

from attrs import field, frozen

from drivetrain.worker.functions import inner_function

__all__ = ["Origin", "module_name"]

_MAIN = frozenset({"__main__", "__mp_main__"})
_EMPTY_CELL = object()


def module_name(name: str) -> str:
    """The name of a module, the same however it was started: as a program, in a child process, or imported."""
    if name not in _MAIN:
        return name
    main = sys.modules[name]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in _MAIN:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else name


@frozen(kw_only=True, eq=False)
class Origin:
    """Where a function was defined, as it was when the function was registered."""

    function: Callable[..., Any]
    module: str
    qualname: str
    #: Its code; None where it is not written in Python.
    code: CodeType | None
    #: The global names of its module.
    names: Mapping[str, Any] = field(repr=False)
    #: What its module was loaded by: another object after each load.
    spec: object = field(repr=False)

    @classmethod
    def of(cls, function: Any) -> Origin:
        """The origin of ``function``."""
        inner = inspect.unwrap(inner_function(function))
        named = function if hasattr(function, "__qualname__") else inner
        names = getattr(inner, "__globals__", {})
        return cls(
            function=function,
            module=module_name(named.__module__ or "builtins"),
            qualname=named.__qualname__,
            code=getattr(inner, "__code__", None),
            names=names,
            spec=names.get("__spec__"),
        )

    def replaces(self, known: Origin) -> bool:
        """Whether this is what ``known`` was, defined once more, so that it may take its place.

        That is so in three cases:

        - It is the same function, or one that does the same: it has the same code, closure and defaults.
        - Its file was loaded again, by `importlib.reload` or under another module name.
        - It was typed in again, in an interactive session or a notebook.
        """
        if _do_the_same(self.function, known.function):
            return True
        if self.code is None or known.code is None or self.qualname != known.qualname:
            return False
        if self.names is known.names and self.spec is known.spec:
            return self._is_typed_in()
        return self.code.co_filename == known.code.co_filename

    def _is_typed_in(self) -> bool:
        # A name at the top of the session was bound again. Lambdas and inner functions have no such name.
        return "__file__" not in self.names and "<" not in self.qualname

    def __str__(self) -> str:
        line = "" if self.code is None else f" (line {self.code.co_firstlineno})"
        return f"{self.module}.{self.qualname}{line}"


def _do_the_same(one: Any, other: Any) -> bool:
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return one.__code__ == other.__code__ and _surroundings(one) == _surroundings(other)
    return one is other


def _surroundings(function: FunctionType) -> list[int]:
    """What decides, besides its code, what a function does; by identity, since equal values may change apart."""
    cells = [_content(cell) for cell in function.__closure__ or ()]
    keywords = [value for _, value in sorted((function.__kwdefaults__ or {}).items())]
    return [*map(id, [function.__globals__, *cells, *(function.__defaults__ or ()), *keywords])]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is assigned yet
        return _EMPTY_CELL
