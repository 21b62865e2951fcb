"""What type checkers say of programs that are right. Checked by ``make lint``; never run."""

# mypy: disable-error-code="unused-awaitable"

from datetime import timedelta
from typing import Any, assert_type

from drivetrain import (
    App,
    AsyncTask,
    Chain,
    Failure,
    Group,
    GroupResult,
    Result,
    Signature,
    Task,
    chain,
    chord,
    group,
    retry,
)

app = App("memory://")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="mails.greet", queue="mails", retry=retry.exponential(max_retries=5), timeout=timedelta(minutes=1))
def greet(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(queue="slow", timeout=10)
async def fetch_slowly(url: str) -> bytes:
    return await fetch(url)


@app.task
def report(failure: Failure) -> None:
    assert failure.message


def tasks_are_still_functions() -> None:
    is_a_task: Task[[int, int], int] = add
    assert_type(is_a_task(1, 2), int)
    assert_type(add(1, 2), int)
    assert_type(greet("Ada", loud=True), str)


async def async_tasks_are_still_async_functions() -> None:
    is_a_task: AsyncTask[[str], bytes] = fetch
    assert_type(await is_a_task("a"), bytes)
    assert_type(await fetch("a"), bytes)
    assert_type(await fetch_slowly("a"), bytes)


def sending_gives_results() -> None:
    assert_type(add.send(1, 2), Result[int])
    assert_type(add.send(x=1, y=2).get(timeout=1), int)
    assert_type(greet.send("Ada", loud=True), Result[str])
    assert_type(fetch.send("a"), Result[bytes])
    assert_type(add.result("some id"), Result[int])
    assert_type(app.result("some id"), Result[Any])


async def sending_can_be_awaited() -> None:
    result = await add.send_async(1, 2)
    assert_type(result, Result[int])
    assert_type(await result, int)
    assert_type(await fetch.send_async("a"), Result[bytes])
    assert_type(await app.send_async(add.si(1, 2)), Result[int])


def signatures_know_their_results() -> None:
    assert_type(add.s(1), Signature[int])
    assert_type(add.si(1, 2), Signature[int])
    assert_type(add.s(1, 2).set(delay=10, on_error=[report.s()]), Signature[int])
    assert_type(fetch.s("a"), Signature[bytes])
    assert_type(app.send(add.si(1, 2)), Result[int])


def chains_result_in_their_last() -> None:
    assert_type(add.s(1, 2) | greet.si("Ada"), Chain[str])
    assert_type(chain(greet.s("Ada"), add.si(1, 2)), Chain[int])
    assert_type(app.send(add.s(1, 2) | add.s(3) | fetch.si("a")), Result[bytes])


def groups_result_in_lists() -> None:
    numbers = group(add.s(n, n) for n in range(10))
    assert_type(numbers, Group[int])
    result = app.send(numbers)
    assert_type(result, GroupResult[int])
    assert_type(result.get(timeout=1), list[int])
    for member in result:
        assert_type(member, Result[int])
    assert_type(group(add.si(1, 2), add.si(3, 4)).set(on_member_failure="collect"), Group[int])


def chords_result_in_their_body() -> None:
    assert_type(chord([add.si(1, 2)], total.s()), Chain[int])
    assert_type(app.send(chord(group(greet.s("Ada")), fetch.si("a"))).get(), bytes)
