"""A task's arguments and result: fitting values arrive as sent, others are refused before they are sent."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import inspect
import json
import threading
import typing
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from drivetrain.contract import InvalidArguments, InvalidSignature, SerializationError
from drivetrain.workflow.binding import Binding
from drivetrain.workflow.values import Values

if typing.TYPE_CHECKING:
    from nowhere import Missing

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclasses.dataclass(frozen=True)
class Order:
    number: int
    items: list[str] = dataclasses.field(default_factory=list)


def add(x: int, y: int) -> int:
    raise NotImplementedError


def everything(a: int, /, b: str = "b", *c: float, d: dt.datetime | None = None, e: Order, **f: bytes) -> list[Order]:
    raise NotImplementedError


def unannotated(x, y=1):
    return x, y


async def later(order: Order) -> Order:
    return order


def same_name(a: int, /, **kwargs: str) -> None: ...


def none() -> None: ...


def keyword_only(*, x: int) -> None: ...


def binding(function, name=None):
    return Binding(name or function.__name__, function, Values())


def through_json(plain):
    return json.loads(json.dumps(plain, allow_nan=False))


def refusal(call, *args, **kwargs):
    with pytest.raises(InvalidArguments) as caught:
        call(*args, **kwargs)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1, "x"), {}, "add(): parameter 'y' expects int, got 'x' (str)"),
        ((1,), {"y": "x"}, "add(): parameter 'y' expects int, got 'x' (str)"),
        (
            ("a", None),
            {},
            "add(): parameter 'x' expects int, got 'a' (str); parameter 'y' expects int, got None (NoneType)",
        ),
        ((1,), {}, "add() is missing argument 'y'"),
        ((), {}, "add() is missing arguments 'x', 'y'"),
        ((1, 2), {"z": 3}, "add() got an unexpected keyword argument 'z'"),
        ((1,), {"z": 3}, "add() got an unexpected keyword argument 'z'; is missing argument 'y'"),
        ((1, 2, 3), {}, "add() takes 2 positional arguments but 3 were given"),
        ((1, 2), {"x": 3}, "add() got multiple values for argument 'x'"),
        ((1, "x" * 500), {}, f"add(): parameter 'y' expects int, got '{'x' * 32}...{'x' * 33}' (str)"),
    ],
)
def test_messages(args, kwargs, message):
    assert refusal(binding(add).encode_call, args, kwargs) == message
    assert refusal(binding(add).decode_call, args, kwargs) == message


def test_messages_of_every_kind_of_parameter():
    bound = binding(everything, "shop.everything")
    message = refusal(bound.encode_call, (None, 1, 1.0, "c"), {"d": 1, "e": Order("n", [1]), "f": 1, "g": b""})
    assert message == (
        "shop.everything(): parameter 'a' expects int, got None (NoneType); parameter 'b' expects str, got 1 (int); "
        "parameter '*c[1]' expects float, got 'c' (str); parameter 'd' expects datetime | None, got 1 (int); "
        "parameter 'e.number' expects int, got 'n' (str); parameter \"**f['f']\" expects bytes, got 1 (int)"
    )
    message = refusal(bound.encode_call, (1,), {"a": 2})
    assert message == "shop.everything() is missing argument 'e'"


def test_messages_say_where_inside_a_value():
    message = refusal(binding(later).encode_call, (Order(1, ["a", 2]),), {})
    assert message == "later(): parameter 'order.items[1]' expects str, got 2 (int)"


def test_a_class_instance_needs_an_annotation():
    message = refusal(binding(unannotated).encode_call, (Order(1),), {})
    assert message.endswith("(Order); annotate it with Order, so that the worker can rebuild it")


def test_a_hostile_repr_does_not_hide_the_fault():
    class Hostile:
        def __repr__(self):
            raise RuntimeError

    assert "got <Hostile" in refusal(binding(add).encode_call, (Hostile(), 1), {})


def test_messages_where_a_result_is_received():
    bound = binding(add)
    note = " (the previous task's result is the first)"
    assert bound.encode_call((2,), {}, received=True) == ([2], {})
    assert bound.encode_call((), {"y": 2}, received=True) == ([], {"y": 2})
    faults = {
        ((1, 2), ()): f"add() takes 2 positional arguments but 3 were given{note}",
        ((1,), (("x", 1),)): f"add() got multiple values for argument 'x'{note}",
        ((1,), (("y", 1),)): "add() got multiple values for argument 'y'",
        ((), ()): "add() is missing argument 'y'",
        (("s",), ()): "add(): parameter 'y' expects int, got 's' (str)",
    }
    for (args, kwargs), message in faults.items():
        assert refusal(bound.encode_call, args, dict(kwargs), received=True) == message
    for function in (none, keyword_only):
        assert f"takes 0 positional arguments but 1 were given{note}" in refusal(
            binding(function).encode_call, (), {}, received=True
        )
    assert binding(everything).encode_call(("b", 1.0), {"e": Order(1)}, received=True)[0] == ["b", 1.0]
    assert binding(everything).encode_call((), {"e": Order(1)}, received=True)[0] == []


def test_a_keyword_may_have_the_name_of_a_positional_only_parameter():
    bound = binding(same_name)
    assert bound.decode_call(*bound.encode_call((1,), {"a": "x"})) == ((1,), {"a": "x"})
    assert refusal(bound.encode_call, (), {"a": "x"}) == "same_name() is missing argument 'a'"


orders = st.builds(Order, st.integers(), st.lists(st.text(), max_size=3))


@patient
@given(
    st.integers(),
    st.none() | st.text(),
    st.lists(st.floats(allow_nan=False), max_size=3),
    st.fixed_dictionaries(
        {"e": orders}, optional={"d": st.none() | st.datetimes(), "a": st.binary(), "z": st.binary()}
    ),
)
def test_round_trip_of_a_call(a, b, c, kwargs):
    bound = binding(everything)
    args = (a,) if b is None else (a, b, *c)
    assert bound.decode_call(*through_json(bound.encode_call(args, kwargs))) == (args, kwargs)


@patient
@given(
    st.lists(st.booleans(), max_size=5),
    st.dictionaries(st.sampled_from("abcdexyz"), st.booleans(), max_size=4),
    st.sampled_from([add, everything, unannotated, same_name, none, keyword_only]),
    st.booleans(),
)
@example([], {"a": False}, same_name, False)
def test_what_python_would_not_call_is_refused(args, kwargs, function, received):
    """Calls of a wrong shape are refused, exactly where Python refuses them."""
    bound = Binding("task", _without_annotations(function), Values())
    if _python_calls(function, *[None] * received, *args, **kwargs):
        assert bound.encode_call(args, kwargs, received=received) == (args, kwargs)
    else:
        refusal(bound.encode_call, args, kwargs, received=received)


def _python_calls(function, /, *args, **kwargs):
    """Whether Python begins to run a function. `inspect.Signature.bind` of Python 3.13.0 answers wrongly."""
    try:
        function(*args, **kwargs)
    except NotImplementedError:
        return True
    except TypeError:
        return False
    return True


def _without_annotations(function):
    signature = inspect.signature(function)
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]

    def bare(*args, **kwargs): ...

    bare.__signature__ = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    bare.__annotations__ = {}
    return bare


@patient
@given(st.lists(st.integers() | st.text() | st.none() | st.dictionaries(st.sampled_from("$vt"), st.text()), max_size=4))
def test_hostile_messages_are_read_or_refused(args):
    for function in (add, everything, unannotated, later):
        with contextlib.suppress(InvalidArguments):
            binding(function).decode_call(args, {"e": 1})


def test_defaults_are_not_sent():
    bound = binding(unannotated)
    assert bound.encode_call((1,), {}) == ([1], {})
    assert bound.decode_call([1], {}) == ((1,), {})


def test_arguments_are_decoded_to_lists_of_their_own():
    bound = binding(unannotated)
    sent = [[1], [2]]
    args, _ = bound.decode_call(sent, {})
    args[0].append(2)
    assert sent == [[1], [2]]


def test_results():
    bound = binding(later)
    assert bound.decode_result(through_json(bound.encode_result(Order(1, ["a"])))) == Order(1, ["a"])
    with pytest.raises(SerializationError, match=r"later\(\): the result expects Order, got 'x' \(str\)"):
        bound.encode_result("x")
    with pytest.raises(SerializationError, match=r"later\(\): the result at .items\[0\] expects str, got 1 \(int\)"):
        bound.encode_result(Order(1, [1]))
    with pytest.raises(SerializationError, match=r"later\(\): the result expects Order"):
        bound.decode_result({"$": "object", "t": "Other", "v": {}})
    assert binding(none).encode_result(None) is None
    with pytest.raises(SerializationError, match="the result expects None, got 1"):
        binding(none).encode_result(1)


def test_the_result_of_one_task_is_the_argument_of_another():
    plain = binding(later).encode_result(Order(1))
    assert binding(later).decode_call([plain], {}) == ((Order(1),), {})
    assert binding(unannotated).decode_call([plain], {}) == (({"number": 1, "items": []},), {})


def unresolved(x: Missing) -> None: ...


def unsupported(x: int, y: list[threading.Thread]) -> None: ...


def unsupported_result() -> threading.Thread: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unresolved, "unresolved(): the annotations of unresolved cannot be resolved: name 'Missing' is not defined"),
        (unsupported, "unsupported(): parameter 'y': values of Thread cannot be sent"),
        (unsupported_result, "unsupported_result(): the result: values of Thread cannot be sent"),
    ],
)
def test_unsupported_signatures(function, message):
    bound = binding(function)
    for call in (bound.compile, lambda: bound.encode_call((1,), {}), lambda: bound.encode_result(1)):
        with pytest.raises(InvalidSignature) as caught:
            call()
        assert not isinstance(caught.value, InvalidArguments)
        assert message in str(caught.value)


def test_it_is_compiled_on_first_use():
    values = Values()
    bound = Binding("task", unsupported, values)
    values.register(
        threading.Thread, encode=lambda thread: thread.name, decode=lambda name: threading.Thread(name=name)
    )
    bound.compile()
    (_, threads), _ = bound.decode_call(*bound.encode_call((1, [threading.Thread(name="t")]), {}))
    assert threads[0].name == "t"


class Callable:
    def __call__(self, order: Order) -> int:
        raise NotImplementedError

    def method(self, order: Order) -> int:
        raise NotImplementedError


@functools.wraps(later)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError


@pytest.mark.parametrize(
    "function", [Callable(), Callable().method, functools.partial(later), wrapped, functools.partial(wrapped)]
)
def test_callables_of_every_kind(function):
    bound = Binding("task", function, Values())
    assert bound.decode_call(*bound.encode_call((Order(1),), {})) == ((Order(1),), {})
    assert refusal(bound.encode_call, (1,), {}) == "task(): parameter 'order' expects Order, got 1 (int)"


def test_first_use_from_many_threads():
    bound = binding(everything)
    start = threading.Barrier(8)
    answers = []

    def use():
        start.wait()
        answers.append(bound.encode_call((1,), {"e": Order(1)}))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)
