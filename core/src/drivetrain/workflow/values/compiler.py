"""Compiles annotations to codecs."""

from __future__ import annotations

import inspect
import pathlib
import re
import threading
import types
from collections import abc, deque
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from types import NoneType
from typing import Any, Final, ForwardRef, Literal, Never, NoReturn, Union, get_args, get_origin, is_typeddict

from attrs import define

from drivetrain.contract import Failure, Plain, reset_after_fork
from drivetrain.workflow.values.annotations import bare, is_plain_class, resolved, scope_of
from drivetrain.workflow.values.classes import enum_codec, is_tuple_record, tuple_record_codec, typed_dict_codec
from drivetrain.workflow.values.codec import Codec, Compile
from drivetrain.workflow.values.containers import (
    deque_codec,
    dict_codec,
    fixed_tuple_codec,
    list_codec,
    set_codec,
    tuple_codec,
)
from drivetrain.workflow.values.custom import Custom, custom_codec
from drivetrain.workflow.values.errors import UnsupportedAnnotation, name_of
from drivetrain.workflow.values.failures import failure_codec
from drivetrain.workflow.values.models import (
    has_pydantic_schema,
    is_model,
    model_codec,
    old_model_advice,
    pydantic_type_codec,
)
from drivetrain.workflow.values.records import is_record, record_codec
from drivetrain.workflow.values.scalars import TAGGED_SCALARS, pattern_codec, plain_scalar_codecs, tagged_scalar_codec
from drivetrain.workflow.values.structs import is_struct, struct_codec
from drivetrain.workflow.values.unions import literal_codec, union_codec
from drivetrain.workflow.values.untyped import Untyped

__all__ = ["Compiler"]

_Scope = Mapping[str, Any] | None

_UNTYPED: Final = (Any, object, inspect.Parameter.empty)
_UNIONS: Final = (Union, types.UnionType)
_DICTS: Final = (dict, abc.Mapping, abc.MutableMapping)
#: The concrete types that a value may have where an abstract one is annotated. A str does not count as a sequence here:
#: a task that gets "abc" for a list of names is more often a mistake than intended.
_COLLECTIONS: Final[dict[Any, tuple[Any, ...]]] = {
    abc.Sequence: (list, tuple, deque, range),
    abc.MutableSequence: (list, deque),
    abc.Set: (set, frozenset),
    abc.MutableSet: (set,),
    abc.Collection: (list, tuple, deque, range, set, frozenset),
    abc.Iterable: (list, tuple, deque, range, set, frozenset),
}


@define(eq=False)
class _Placeholder:
    """A placeholder for a codec that is being compiled, for the parts of its annotation that refer to it again."""

    expected: str
    kinds: frozenset[type] | None
    bound: Codec | None = None

    def codec(self) -> Codec:
        """A codec that delegates to the real one as soon as that is compiled."""

        def encode(value: object) -> Plain:
            return self._bound().encode(value)

        def decode(plain: Plain) -> Any:
            return self._bound().decode(plain)

        return Codec(self.expected, encode, decode, self.kinds)

    def _bound(self) -> Codec:
        if self.bound is None:
            raise UnsupportedAnnotation("a value was given before its annotation was compiled")
        return self.bound


def _is_hashable(annotation: Any) -> bool:
    try:
        hash(annotation)
    except TypeError:  # Annotated[int, []]
        return False
    return True


class Compiler:
    """Makes the codec of each annotation once. Thread-safe.

    Args:
        custom: the types that an app has registered.
    """

    def __init__(self, custom: Mapping[type, Custom]) -> None:
        self._cache: dict[Any, tuple[Codec, _Scope]] = {}
        self.after_fork()
        reset_after_fork(self)
        self._scalars = {
            scalar.kind: tagged_scalar_codec(scalar, self._travels) for scalar in TAGGED_SCALARS
        } | plain_scalar_codecs(self._travels)
        self._untyped = Untyped(self._travels)
        self._custom: dict[type, Codec] = {}
        for kind, converters in custom.items():
            self._custom[kind] = custom_codec(kind, converters, self._untyped.codec, self._travels)
        self._untyped.add_custom(self._custom)
        self._failure = failure_codec(self.codec, self._travels)
        self._untyped.add(self._failure, "failure")

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`. A thread of the parent may have been compiling at the fork."""
        self._lock = threading.RLock()
        self._session: dict[Any, tuple[Codec, _Scope]] = {}
        self._building: dict[Any, _Placeholder] = {}

    def _travels(self, kind: type) -> bool:
        is_class = issubclass(kind, Enum) or is_record(kind) or is_tuple_record(kind)
        is_class = is_class or is_struct(kind) or (is_model(kind) and not old_model_advice(kind))
        return is_class or kind in self._scalars or kind in self._custom

    def codec(self, annotation: Any, scope: _Scope = None) -> Codec:
        """The codec of an annotation, whose forward references use the names in ``scope``.

        Raises:
            UnsupportedAnnotation: values of this annotation cannot be sent.
        """
        if isinstance(annotation, ForwardRef):
            # The name alone is the key of the cache: two references of one name may differ in their other attributes.
            annotation = annotation.__forward_arg__
        scope = None if is_plain_class(annotation) else scope
        annotation = annotation if _is_hashable(annotation) else resolved(annotation, scope)
        key = (annotation, id(scope))
        found = self._cache.get(key)
        return found[0] if found else self._compile_all(key, annotation, scope)

    def _compile_all(self, key: Any, annotation: Any, scope: _Scope) -> Codec:
        """Compile an annotation and its parts. Other threads see all new codecs at once, when all are complete."""
        with self._lock:
            outermost = not self._building
            try:
                codec = self._compile_once(key, annotation, scope)
                if outermost:
                    self._cache = {**self._cache, **self._session}
            except RecursionError:
                raise UnsupportedAnnotation(f"{name_of(annotation)} contains itself without end") from None
            finally:
                if outermost:
                    self._session = {}
            return codec

    def _compile_once(self, key: Any, annotation: Any, scope: _Scope) -> Codec:
        if key in self._session:
            return self._session[key][0]
        if key in self._building:
            return self._building[key].codec()
        origin = get_origin(annotation) or annotation
        kinds = frozenset({origin}) if isinstance(origin, type) and self._travels(origin) else None
        placeholder = self._building[key] = _Placeholder(name_of(annotation), kinds)
        try:
            placeholder.bound = codec = self._compile(bare(annotation, scope), scope)
        finally:
            del self._building[key]
        # The scope stays referenced, so that no other scope gets the same id.
        self._session[key] = codec, scope
        return codec

    def _compile(self, annotation: Any, scope: _Scope) -> Codec:
        if annotation in _UNTYPED:
            return self._untyped.codec
        kind = NoneType if annotation is None else annotation
        known = self._failure if kind is Failure else self._custom.get(kind) or self._scalars.get(kind)
        codec = known or self._compile_pattern(kind) or self._compile_parts(kind, scope) or self._compile_class(kind)
        if codec is None:
            raise UnsupportedAnnotation(f"values of {name_of(annotation)} cannot be sent")
        return codec

    def _compile_parts(self, annotation: Any, scope: _Scope) -> Codec | None:
        """The codec of an annotation that has other annotations as its parts."""
        origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
        if origin is Literal:
            return literal_codec([(choice, self.codec(type(choice), scope)) for choice in arguments])
        if origin in _UNIONS or origin in (Never, NoReturn):
            return union_codec([self.codec(each, scope) for each in arguments], name_of(annotation), self._travels)
        if origin is tuple:
            return self._compile_tuple(annotation, arguments, scope)
        if origin in _DICTS:
            key, value = arguments or (Any, Any)
            return dict_codec(self.codec(key, scope), self.codec(value, scope), self._travels)
        if origin in (list, deque, set, frozenset, *_COLLECTIONS):
            item = self.codec(arguments[0] if arguments else Any, scope)
            return self._compile_collection(origin, item, name_of(annotation))
        return None

    def _compile_tuple(self, annotation: Any, arguments: tuple[Any, ...], scope: _Scope) -> Codec:
        if not hasattr(annotation, "__args__"):
            arguments = (Any, ...)
        if len(arguments) == 2 and arguments[1] is ...:
            return tuple_codec(self.codec(arguments[0], scope), self._travels)
        return fixed_tuple_codec([self.codec(member, scope) for member in arguments], self._travels)

    def _compile_collection(self, origin: Any, item: Codec, expected: str) -> Codec:
        concrete: dict[Any, Callable[[], Codec]] = {
            list: lambda: list_codec(item, self._travels),
            tuple: lambda: tuple_codec(item, self._travels),
            deque: lambda: deque_codec(item, self._travels),
            range: lambda: self._scalars[range],
            set: lambda: set_codec(set, item, self._travels),
            frozenset: lambda: set_codec(frozenset, item, self._travels),
        }
        if origin in concrete:
            return concrete[origin]()
        # A range holds only ints.
        kinds = [kind for kind in _COLLECTIONS[origin] if kind is not range or item.kinds is None or int in item.kinds]
        return union_codec([concrete[kind]() for kind in kinds], expected, self._travels)

    def _compile_class(self, annotation: Any) -> Codec | None:
        """The codec of an application's class."""
        kind = get_origin(annotation) or annotation
        if not isinstance(kind, type):
            return None
        if kind in (pathlib.Path, pathlib.PurePath):
            return self._compile_path(kind)
        if issubclass(kind, Enum):
            return enum_codec(kind, self._travels)
        codec = partial(self.codec, scope=scope_of(kind))
        if is_typeddict(kind):
            return typed_dict_codec(annotation, codec, self._travels)
        if is_tuple_record(kind):
            return tuple_record_codec(annotation, codec, self._travels)
        return self._compile_fields(kind, annotation, codec)

    def _compile_fields(self, kind: type, annotation: Any, codec: Compile) -> Codec | None:
        """The codec of a class whose instances are their fields."""
        if is_record(kind):
            return record_codec(annotation, codec, self._travels)
        if is_struct(kind):
            return struct_codec(annotation, codec, self._travels)
        if is_model(kind):
            return model_codec(kind, codec, self._travels)
        return pydantic_type_codec(kind, codec) if has_pydantic_schema(kind) else None

    def _compile_pattern(self, annotation: Any) -> Codec | None:
        """The codec of ``re.Pattern[…]``."""
        if get_origin(annotation) is not re.Pattern:
            return None
        text, any_pattern = bare(get_args(annotation)[0]), self._scalars[re.Pattern]
        return pattern_codec(text, any_pattern) if text in (str, bytes) else any_pattern

    def _compile_path(self, kind: type[pathlib.PurePath]) -> Codec:
        """The codec of a path class. The instances of ``Path`` and ``PurePath`` are those of subclasses."""
        paths = [codec for path, codec in self._scalars.items() if issubclass(path, kind)]
        return union_codec(paths, kind.__name__, self._travels)
