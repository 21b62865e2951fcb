"""What type checkers say of programs that are right. Checked by ``make lint``; never run."""

# mypy: disable-error-code="unused-awaitable"

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Never, assert_type

from drivetrain import (
    App,
    AsyncTask,
    Batch,
    BatchTask,
    Blueprint,
    Chain,
    Failure,
    Group,
    GroupResult,
    Result,
    Signature,
    Takes,
    Task,
    Workflow,
    chain,
    chord,
    current_task,
    group,
    provided,
    retry,
)

app = App("memory://")


class Database:
    name = "shop"


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


def open_database() -> Iterator[Database]:
    yield Database()


async def connect() -> Database:
    return Database()


@app.task
def look_up(user: int, database: Database = provided(open_database), other: Database = provided(connect)) -> str:
    return database.name * user


assert_type(look_up.send(1), Result[str])


@app.task(batch=Batch(100, wait=timedelta(seconds=5)), queue="search")
def index(rows: list[str]) -> list[int]:
    return [len(row) for row in rows]


@app.task(batch=Batch(100))
def index_some(rows: Sequence[str]) -> list[int | Exception]:
    return [len(row) or ValueError("empty") for row in rows]


@app.task(batch=Batch(100, wait=5), pool="processes")
def store(rows: list[bytes]) -> None: ...


@app.task(batch=Batch(100))
async def fetch_all(rows: list[str]) -> list[bytes | BaseException]:
    return [await fetch(row) for row in rows]


@app.task(batch=Batch(100))
async def store_all(rows: list[bytes]) -> None: ...


@app.task
def report(failure: Failure) -> None:
    assert failure.message


@app.task
def notify(failure: Failure, whom: str) -> None:
    assert failure.message != whom


@app.task
def half(number: float) -> float:
    return number / 2


@app.task
def optional(number: int, text: str = "") -> str:
    return text * number


@app.task
def all_optional(number: int = 1, text: str = "") -> int:
    return len(text * number)


@app.task
def positional(x: int, /, y: int) -> int:
    return x + y


@app.task
def many(*numbers: int) -> int:
    return sum(numbers)


@app.task
def many_by_name(number: int, **texts: str) -> int:
    return number + len(texts)


@app.task
def by_name(*, x: int) -> int:
    return x


@app.task
def loudly(number: int, *, loud: bool = False) -> str:
    return str(number) if loud else ""


@app.task
def nothing() -> int:
    return 0


@app.task
def untyped(x, y=1):  # type: ignore[no-untyped-def]
    return x or y


@app.task
def anything(value: Any) -> Any:
    return value


@app.task
def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


@app.task
def total_of_any(numbers: Sequence[float]) -> float:
    return sum(numbers)


@app.task
def count_failures(results: list[int | Failure]) -> int:
    return sum(isinstance(one, Failure) for one in results)


@app.task
def either(values: list[int | str]) -> int:
    return len(values)


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


def signatures_know_what_they_take_and_result_in() -> None:
    assert_type(add.s(1), Signature[int, Takes[int]])
    assert_type(add.s(1, 2), Signature[int, Takes[Never]])
    assert_type(add.si(1, 2), Signature[int, Takes[object]])
    assert_type(add.s(1, 2).set(delay=10, on_error=[report.s()]), Signature[int, Takes[Never]])
    assert_type(fetch.s("a"), Signature[bytes, Takes[Never]])
    assert_type(app.send(add.si(1, 2)), Result[int])
    of_any_kind: list[Signature[int]] = [add.s(1), add.s(1, 2), add.si(1, 2), app.signature("elsewhere", 1)]
    assert_type(of_any_kind[0].set(queue="q"), Signature[int])


def workflows_send_themselves() -> None:
    assert_type(add.si(1, 2).send(), Result[int])
    assert_type(add.si(1, 2).set(task_id="one").send().get(), int)
    assert_type((add.s(1, 2) | greet.si("Ada")).send(), Result[str])
    assert_type(group(add.s(n, n) for n in range(10)).send(), GroupResult[int])
    assert_type(chord([add.s(1, 2)], total.s()).send(), Result[int])


def options_of_signatures() -> None:
    add.si(1, 2).set(
        eta=datetime.now(UTC),
        delay=timedelta(seconds=1),
        expires=60,
        queue="q",
        priority=3,
        headers={"tenant": "7"},
        retry=retry.never(),
        timeout=1.5,
        retention=timedelta(days=1),
        message_group="g",
        dead_letter=True,
        ignore_unknown=True,
        task_id="a",
        on_success=[half.s(), greet.si("Ada"), untyped.s()],
        on_error=[report.s(), greet.si("Ada"), untyped.s(), notify.s("ops")],
    )


def partial_calls() -> None:
    """All that may follow a task that results in an int."""
    first = add.s(1, 2)
    chain(first, add.s(3), half.s())
    chain(first, add.s(y=3))
    chain(first, optional.s(), half.si(1))
    chain(first, optional.s("a"))
    chain(first, optional.s(text="a"))
    chain(first, all_optional.s(), all_optional.s("a"), all_optional.s(text="a"))
    chain(first, positional.s(2), positional.s(y=2))
    chain(first, many.s(), many.s(2, 3))
    chain(first, many_by_name.s(a="x"))
    chain(first, loudly.s(loud=True), greet.s())
    chain(first, nothing.si(), by_name.si(x=1), nothing.si())
    chain(first, untyped.s(), add.s(1), untyped.s(y=1))
    chain(first, anything.s(), add.s(1))
    chain(first, app.signature("elsewhere"), add.s(1))


def first_calls() -> None:
    """All that may come first: with all its arguments, some of them optional."""
    chain(greet.s("Ada"), fetch.s())
    chain(greet.s("Ada", loud=True), fetch.s())
    chain(optional.s(1), fetch.s())
    chain(optional.s(1, "a"), fetch.s())
    chain(all_optional.s(), optional.s())
    chain(many.s(1, 2), many.s())
    chain(by_name.s(x=1), add.s(1))
    chain(nothing.s(), add.s(1))
    chain(untyped.s(1), add.s(1))
    chain(add.s(x=1, y=2), add.s(1))


def chains_result_in_their_last() -> None:
    assert_type(add.s(1, 2) | greet.si("Ada"), Chain[str, Takes[Never]])
    assert_type(add.s(1) | half.s() | greet.si("Ada"), Chain[str, Takes[int]])
    assert_type(chain(greet.s("Ada"), add.si(1, 2)), Chain[int, Takes[Never]])
    assert_type(app.send(add.s(1, 2) | add.s(3) | fetch.si("a")), Result[bytes])
    assert_type(chain(add.s(1, 2), add.s(1), add.s(1), half.s()), Chain[float, Takes[Never]])
    assert_type(chain(add.s(1, 2), add.s(1), add.s(1), add.s(1), half.s()), Chain[float, Takes[Never]])
    chain(*[add.s(1) for _ in range(6)])
    chain(add.s(1, 2), add.s(1), add.s(1), add.s(1), add.s(1), half.s(), greet.si("Ada"))


def workflows_of_workflows() -> None:
    chain(add.s(1, 2), chain(add.s(1), half.s()), greet.si("Ada"))
    chain(add.s(1, 2), group(add.s(n) for n in range(3)), total.s())
    chain(add.s(1, 2), group(add.s(1), add.si(1, 2), many.s()), total.s())
    chain(add.s(1, 2), group([add.s(1), half.s(), anything.s()]), anything.s())
    chain(add.s(1, 2), chord([add.s(1), add.s(2)], total.s()), half.s())
    chord([add.s(1, 2)], total.s() | half.s())
    chord([add.s(1, 2)], group(total.s(), total.s()))
    group(group(add.s(1, 2)), group(add.s(1, 2)))
    group(chain(add.s(1, 2), add.s(3)), add.s(1, 2))


def workflows_that_are_made_step_by_step() -> None:
    steps = [add.s(1), half.si(1), greet.si("Ada")]
    chain(*steps)
    chain(steps)
    chain(add.s(1, 2), *steps)
    chain(add.s(1, 2), steps, add.si(1, 2))
    chain(add.s(1, 2), add.s(1), steps)
    group(steps)
    group(*steps)
    growing: Workflow[int] = add.s(1, 2)
    for number in range(3):
        growing = growing | add.s(number)
        growing = chain(growing, add.s(number))
        growing = chord([growing], total.s())
    assert_type(app.send(growing), Result[int])


def groups_result_in_lists() -> None:
    numbers = group(add.s(n, n) for n in range(10))
    assert_type(numbers, Group[int, Takes[Never]])
    result = app.send(numbers)
    assert_type(result, GroupResult[int])
    assert_type(result.get(timeout=1), list[int])
    for member in result:
        assert_type(member, Result[int])
    collecting = group(add.si(1, 2), add.si(3, 4)).set(on_member_failure="collect", on_error=[report.s()])
    assert_type(collecting, Group[int | Failure, Takes[object]])
    assert_type(collecting.send().get(), list[int | Failure])
    assert_type(group(add.s(1), add.s(2)).set(group_id="g", on_member_failure="fail"), Group[int, Takes[int]])
    group(add.s(1, 2), greet.s("Ada"), fetch.s("a"), add.s(1), add.si(1, 2))


def chords_result_in_their_body() -> None:
    assert_type(chord([add.si(1, 2)], total.s()), Chain[int, Takes[object]])
    assert_type(app.send(chord(group(greet.s("Ada")), fetch.si("a"))).get(), bytes)
    chord((add.s(n, n) for n in range(3)), total.s())
    chord(group(add.s(n, n) for n in range(3)), total.s())
    chord([add.s(1, 2), add.si(1, 2), add.s(1)], total.s())
    chord([add.s(1, 2)], mean.s())
    chord(group(add.s(1, 2)), mean.s())
    chord(group(add.s(1, 2)), total_of_any.s())
    chord(group(add.s(1, 2)).set(on_member_failure="collect"), count_failures.s())
    chord([add.s(1, 2)], count_failures.s())
    chord([add.s(1, 2), greet.s("Ada")], anything.s())
    chord([add.s(1, 2), greet.s("Ada")], either.s())
    chord(group(add.s(1, 2), greet.s("Ada")), either.s())
    chord(add.s(1, 2) | group(add.s(1), add.s(2)), total.s())


def batches() -> None:
    assert_type(index.send("a"), Result[int])
    assert_type(index(["a", "b"]), Sequence[int | BaseException])
    assert_type(index.s("a"), Signature[int, Takes[Never]])
    assert_type(index.s(), Signature[int, Takes[str]])
    assert_type(index.si("a"), Signature[int, Takes[object]])
    assert_type(index_some.send("a"), Result[int])
    assert_type(store.send(b""), Result[None])
    assert_type(fetch_all.send("a"), Result[bytes])
    assert_type(store_all.send(b""), Result[None])
    assert_type(fetch.s("a") | store.s(), Chain[None, Takes[Never]])
    assert_type(group(index.s(text) for text in "ab"), Group[int, Takes[Never]])
    task: BatchTask[str, int, Any] = index
    assert_type(task.send("a"), Result[int])
    app.send_many(index.s(text) for text in "ab")


async def async_batches() -> None:
    assert_type(await index.send_async("a"), Result[int])
    assert_type(await fetch_all(["a"]), Sequence[bytes | BaseException])


library = Blueprint("library", queue="slow")


@library.task
def third(x: int) -> float:
    return x / 2


@library.task(priority=1)
async def third_async(x: int) -> float:
    return x / 2


@app.task
def replaced(x: int) -> int:
    return current_task().replace(chain(add.s(x, 1), add.s(2)))


def tasks_of_blueprints() -> None:
    app.include(library)
    assert_type(third(1), float)
    assert_type(third.send(1), Result[float])
    assert_type(third_async.send(1), Result[float])
    assert_type(chain(add.s(1, 2), third.s()), Chain[float, Takes[Never]])


def groups_of_one_task() -> None:
    assert_type(add.starmap([(1, 2)]), Group[int, Takes[object]])
    assert_type(third.map([1, 2]), Group[float, Takes[object]])
    assert_type(add.chunks([(1, 2)], 10), Group[list[int], Takes[object]])
