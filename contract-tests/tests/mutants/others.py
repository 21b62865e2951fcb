"""Broken serializers and retry policies."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
import pickle
import random
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from drivetrain.contract import InvalidSignature, SerializationError
from drivetrain.drivers.json import JsonSerializer
from drivetrain.drivers.retries import make_retry_policy
from drivetrain_contract_tests.retry_policies import PolicyUnderTest, RetryPolicyContract
from drivetrain_contract_tests.serializers import SerializerContract
from mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_HONEST = JsonSerializer()


class Changed(JsonSerializer):
    """JSON whose values are changed on their way out, or on their way in."""

    def __init__(
        self, out: Callable[[Any], Any] = lambda value: value, back: Callable[[Any], Any] = lambda value: value
    ):
        self._out, self._back = out, back

    def dumps(self, value):
        return super().dumps(self._out(value))

    def loads(self, data):
        return self._back(super().loads(data))


def each_leaf(change):
    """A function that changes every value that is neither a list nor a dict."""

    def walk(value):
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else change(value)

    return walk


def each_list(change):
    def walk(value):
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return change([walk(item) for item in value]) if isinstance(value, list) else value

    return walk


def each_dict(change):
    def walk(value):
        if isinstance(value, list):
            return [walk(item) for item in value]
        return change({key: walk(item) for key, item in value.items()}) if isinstance(value, dict) else value

    return walk


def when(kind, change):
    return each_leaf(lambda value: change(value) if type(value) is kind else value)


def whole(number):
    return int(number) if number == int(number) else number


def in_32_bits(number):
    return (number + 2**31) % 2**32 - 2**31


def number_or_text(text):
    return int(text) if text.isdecimal() else text


def by_key(items):
    return dict(sorted(items.items()))


def without_none(items):
    return {key: item for key, item in items.items() if item is not None}


def truncated(text):
    return text.encode()[: 64 * 1024].decode(errors="ignore")


class Loose(JsonSerializer):
    """JSON as the standard library reads it when nobody takes care."""

    def loads(self, data):
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise SerializationError(str(error)) from error


class Raw(JsonSerializer):
    """The errors of the library beneath come through."""

    def loads(self, data):
        return json.loads(data)


class Forgiving(JsonSerializer):
    """What cannot be read is None."""

    def loads(self, data):
        try:
            return super().loads(data)
        except SerializationError:
            return None


class DepthUnreckoned(JsonSerializer):
    """The bytes may nest deeper than Python recurses, and nobody has thought of it."""

    def loads(self, data):
        try:
            return super().loads(data)
        except SerializationError as error:
            if isinstance(error.__cause__, RecursionError):
                raise error.__cause__ from None
            raise


class Pickles(JsonSerializer):
    """Reads pickles too, as older senders wrote them."""

    def loads(self, data):
        try:
            return super().loads(data)
        except SerializationError as error:
            try:
                return pickle.loads(data)
            except Exception:
                raise error from None


class Evaluates(JsonSerializer):
    """Reads what Python's repr writes, by evaluating it."""

    def loads(self, data):
        try:
            return super().loads(data)
        except SerializationError as error:
            try:
                return eval(data.decode())
            except BaseException:
                raise error from None


class Rebuilds(JsonSerializer):
    """Looks for the classes that a value names."""

    def loads(self, data):
        value = super().loads(data)
        if isinstance(value, dict) and "__module__" in value:
            try:
                importlib.import_module(value["__module__"])
            except Exception:
                return value
        return value


class Logs(JsonSerializer):
    """Keeps what it could not read in a file."""

    def loads(self, data):
        try:
            return super().loads(data)
        except SerializationError:
            with Path(os.devnull).open("ab") as file:
                file.write(data)
            raise


class NoMediaType(JsonSerializer):
    content_type = "json"


class ChangingType(JsonSerializer):
    """Names the last value's schema."""

    schema = "null"

    @property
    def content_type(self):
        return f"application/json; schema={self.schema}"

    def dumps(self, value):
        self.schema = type(value).__name__
        return super().dumps(value)


class OneBuffer(JsonSerializer):
    """Saves an allocation by a buffer that all threads share."""

    def __init__(self):
        self._buffer = bytearray()

    def dumps(self, value):
        self._buffer.clear()
        for part in json.JSONEncoder().iterencode(value):
            self._buffer += part.encode()
        return bytes(self._buffer)


class MutableResult(JsonSerializer):
    """Gives its buffer away."""

    def dumps(self, value):
        return bytearray(super().dumps(value))


def serializer(name: str, clause: str, made: Callable[[], Any]) -> Mutant:
    return Mutant(name=name, clause=clause, contract=SerializerContract, service=made)


SERIALIZERS = [
    serializer("turns integers into floats", "S1", lambda: Changed(back=when(int, float))),
    serializer("turns whole floats into integers", "S1", lambda: Changed(when(float, whole))),
    serializer("keeps fifteen digits of a float", "S1", lambda: Changed(when(float, lambda x: float(f"{x:.15g}")))),
    serializer("loses the sign of zero", "S1", lambda: Changed(when(float, lambda x: x + 0.0))),
    serializer("carries integers as doubles", "S1", lambda: Changed(when(int, lambda x: int(float(x))))),
    serializer("carries 32 bits of an integer", "S1", lambda: Changed(when(int, in_32_bits))),
    serializer("turns booleans into integers", "S1", lambda: Changed(when(bool, int))),
    serializer("reads text that looks like a number as one", "S1", lambda: Changed(back=when(str, number_or_text))),
    serializer("gives tuples for lists", "S1", lambda: Changed(back=each_list(tuple))),
    serializer("sorts keys", "S1", lambda: Changed(each_dict(by_key))),
    serializer("drops keys whose value is None", "S1", lambda: Changed(each_dict(without_none))),
    serializer("truncates text at 64 KiB", "S1", lambda: Changed(when(str, truncated))),
    serializer("ends text at NUL", "S1", lambda: Changed(when(str, lambda x: x.partition("\0")[0]))),
    serializer("normalizes line ends", "S1", lambda: Changed(when(str, lambda x: x.replace("\r\n", "\n")))),
    serializer("carries ASCII only", "S1", lambda: Changed(when(str, lambda x: x.encode("ascii", "replace").decode()))),
    serializer("gives a buffer in place of bytes", "S1", MutableResult),
    serializer("reads NaN and infinities", "S2", Loose),
    serializer("lets the library's errors through", "S2", Raw),
    serializer("takes what it cannot read for None", "S2", Forgiving),
    serializer("breaks at deep nesting", "S2", DepthUnreckoned),
    serializer("falls back on pickle", "S3", Pickles),
    serializer("evaluates what it cannot read", "S3", Evaluates),
    serializer("imports the modules that values name", "S3", Rebuilds),
    serializer("writes what it cannot read to a file", "S3", Logs),
    serializer("has no media type", "S4", NoMediaType),
    serializer("changes its content type with the value", "S4", ChangingType),
    serializer("shares a buffer between threads", "S5", OneBuffer),
]  # fmt: skip


# Retry policies


class Delay:
    """A policy that is one function of the retry and the random numbers."""

    def __init__(self, seconds: Callable[[int, Random], Any]) -> None:
        self._seconds = seconds

    def delay_seconds(self, retry, random):
        return self._seconds(retry, random)


class Grows:
    """Counts its own calls in place of looking at the retry."""

    def __init__(self):
        self._calls = 0

    def delay_seconds(self, retry, random):
        self._calls += 1
        return float(min(2**self._calls, 600))


class Decorrelated:
    """Jitter that starts from the delay before, which it remembers."""

    def __init__(self):
        self._last = 1.0

    def delay_seconds(self, retry, random):
        self._last = min(600.0, 1 + random.random() * self._last * 3)
        return self._last


class Memorizes:
    """Draws once for each retry, and keeps that."""

    def __init__(self):
        self._delays: dict[int, float] = {}

    def delay_seconds(self, retry, random):
        return self._delays.setdefault(retry, random.random() * retry)


_made = itertools.count(1)


def salted() -> Delay:
    salt = next(_made)
    return Delay(lambda retry, random: float(min(retry, 600) + salt))


def doubling(retry: int, _random: Random) -> float:
    return 2.0 ** (retry - 1)


def unbounded(retry: int, _random: Random) -> float:
    try:
        return 2.0**retry
    except OverflowError:
        return math.inf


def checked(change: Callable[[str, dict[str, Any]], Any]) -> Callable[[str, Any], Any]:
    return lambda name, parameters: change(name, dict(parameters))


def ignores_unknown(name: str, parameters: dict[str, Any]) -> Any:
    known = {key: value for key, value in parameters.items() if key in {"base", "factor", "cap", "jitter"}}
    return make_retry_policy(name, known)


def raises_type_errors(name: str, parameters: dict[str, Any]) -> Any:
    try:
        return make_retry_policy(name, parameters)
    except InvalidSignature as error:
        raise TypeError(str(error)) from error


def clamps(name: str, parameters: dict[str, Any]) -> Any:
    if isinstance(parameters.get("base"), (int, float)) and parameters["base"] < 0:
        parameters["base"] = 1.0
    return make_retry_policy(name, parameters)


def ignores_its_cap(name: str, parameters: dict[str, Any]) -> Any:
    policy = make_retry_policy(name, parameters)
    return Delay(lambda retry, random: policy.delay_seconds(retry, random) * (1 + random.random()))


def under_test(make: Callable[[str, Any], Any]) -> Callable[[], PolicyUnderTest]:
    return lambda: PolicyUnderTest(
        name="exponential",
        good=[{}, {"base": 2.0, "cap": 60.0}],
        bad=[{"base": -1}, {"factor": 0}],
        cap="cap",
        make=make,
    )


def policy(name: str, clause: str, made: Callable[[], Any]) -> Mutant:
    """A policy that takes the parameters of ``exponential`` as it should, and is another."""

    def make(_name, parameters):
        make_retry_policy("exponential", parameters)
        return made()

    return Mutant(name=name, clause=clause, contract=RetryPolicyContract, service=under_test(make))


def parameters(name: str, clause: str, make: Callable[[str, dict[str, Any]], Any]) -> Mutant:
    return Mutant(name=name, clause=clause, contract=RetryPolicyContract, service=under_test(checked(make)))


POLICIES = [
    policy("lets jitter go below zero", "P1", lambda: Delay(lambda retry, random: 1 + random.uniform(-2, 2))),
    policy("overflows at large retries", "P1", lambda: Delay(doubling)),
    policy("waits for ever at large retries", "P1", lambda: Delay(unbounded)),
    policy("gives NaN at large retries", "P1", lambda: Delay(lambda retry, random: unbounded(retry, random) * 0.0)),
    policy("wraps around at 32 bits", "P1", lambda: Delay(lambda retry, _: in_32_bits(1 << min(retry, 99)))),
    policy("gives None when it has no more delays", "P1", lambda: Delay(lambda retry, _: {1: 1, 2: 5}.get(retry))),
    parameters("adds its jitter to the cap", "P1", ignores_its_cap),
    policy("draws from the global random numbers", "P2", lambda: Delay(lambda _retry, _random: random.random())),
    policy("draws from the clock", "P2", lambda: Delay(lambda _retry, _random: time.perf_counter() % 1)),
    policy("seeds the global random numbers", "P2", lambda: Delay(lambda retry, _: random.seed(retry) or 1.0)),
    policy("salts its delays when it is made", "P3", salted),
    parameters("ignores unknown parameters", "P4", ignores_unknown),
    parameters("raises TypeError for wrong parameters", "P4", raises_type_errors),
    parameters("sets wrong parameters right", "P4", clamps),
    policy("counts its calls", "P5", Grows),
    policy("starts from the delay before", "P5", Decorrelated),
    policy("keeps what it has drawn", "P5", Memorizes),
]  # fmt: skip

MUTANTS = [*SERIALIZERS, *POLICIES]
