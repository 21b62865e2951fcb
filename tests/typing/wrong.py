"""Programs that are wrong, and what type checkers say of them: the error that each line marks, and no other.

A mark that is not needed is an error too, so ``make lint`` finds out when something wrong is no longer noticed.
"""

# mypy: disable-error-code="unused-awaitable"
# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import assert_type

from drivetrain import App, Batch, Result, chain, chord, group

app = App("memory://")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task
def clean_up(directory: str) -> None: ...


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def nothing() -> int:
    return 0


@app.task(batch=Batch(100, wait=5))
def index(rows: list[str]) -> list[int]:
    return [len(row) for row in rows]


def wrong_rows() -> None:
    index.send(1)  # type: ignore[arg-type]
    index.send(["a"])  # type: ignore[arg-type]
    index.send("a", "b")  # type: ignore[call-arg]
    index("a")  # type: ignore[arg-type]
    add.s(1, 2) | index.s()  # type: ignore[operator]


def wrong_arguments() -> None:
    add.send(1, "x")  # type: ignore[arg-type]
    add.send(1)  # type: ignore[call-arg]
    add.send(1, 2, z=3)  # type: ignore[call-arg]
    add.si(1, "x")  # type: ignore[arg-type]
    add(1, "x")  # type: ignore[arg-type]
    fetch.send(1)  # type: ignore[arg-type]


async def wrong_arguments_of_async_calls() -> None:
    await add.send_async(1, "x")  # type: ignore[arg-type]
    await fetch(1)  # type: ignore[arg-type]


def wrong_results() -> None:
    result: Result[str] = add.send(1, 2)  # type: ignore[assignment]
    assert_type(result, Result[str])
    text: str = add.send(1, 2).get()  # type: ignore[assignment]
    assert_type(text, str)


def wrong_options() -> None:
    @app.task(quue="mails")  # type: ignore[call-overload, untyped-decorator]
    def misspelled() -> None: ...

    @app.task(priority="high")  # type: ignore[call-overload, untyped-decorator]
    def of_the_wrong_type() -> None: ...

    group(add.s(1, 2)).set(on_member_failure="ignore")  # type: ignore[call-overload]


def wrong_arguments_of_signatures() -> None:
    clean_up.si(3)  # type: ignore[arg-type]
    clean_up.si()  # type: ignore[call-arg]
    clean_up.si("/tmp", when=1)  # type: ignore[call-arg]
    add.s("x")  # type: ignore[call-overload]
    add.s(1, "x")  # type: ignore[call-overload]
    add.s(1, 2, 3)  # type: ignore[call-overload]
    add.s(1, z=3)  # type: ignore[call-overload]


def wrong_options_of_signatures() -> None:
    add.s(1, 2).set(dealy=3)  # type: ignore[call-arg]
    add.s(1, 2).set(delay="3")  # type: ignore[arg-type]
    add.s(1, 2).set(eta=3)  # type: ignore[arg-type]
    add.s(1, 2).set(on_error=[add.s(1)])  # type: ignore[list-item]
    add.s(1, 2).set(on_success=[clean_up.s()])  # type: ignore[list-item]
    group(add.s(1, 2)).set(on_error=[add.s(1)])  # type: ignore[list-item]
    chain(add.s(1, 2)).set(on_error=[add.s(1)])  # type: ignore[list-item]


def parts_that_do_not_fit() -> None:
    chain(add.s(1, 2), clean_up.s())  # type: ignore[misc]
    chain(clean_up.s("/tmp"), add.s(1))  # type: ignore[misc]
    chain(add.s(1, 2), add.s(1), clean_up.s())  # type: ignore[misc]
    chain(add.s(1, 2), add.s(1), add.s(1), add.s(1), clean_up.s())  # type: ignore[misc]
    chain(add.s(1, 2), add.s(1, 2))  # type: ignore[misc]
    chain(add.s(1, 2), nothing.s())  # type: ignore[misc]
    chain(add.s(1, 2), group(clean_up.s() for _ in range(3)))  # type: ignore[misc]
    chain(group(add.s(1, 2)), add.s(1))  # type: ignore[misc]
    add.s(1, 2) | clean_up.s()  # type: ignore[operator]
    add.s(1, 2) | add.s(1) | clean_up.s()  # type: ignore[operator]
    chord(group(fetch.s("a")), total.s())  # type: ignore[misc]
    chord(group(add.s(1, 2)), clean_up.s())  # type: ignore[arg-type]
    chord([add.s(1, 2)], add.s(1))  # type: ignore[arg-type]


def wrong_results_of_workflows() -> None:
    text: str = add.s(1, 2).send().get()  # type: ignore[assignment]
    assert_type(text, str)
    texts: list[str] = group(add.s(1, 2)).send().get()  # type: ignore[assignment]
    assert_type(texts, list[str])


def tasks_instead_of_signatures() -> None:
    app.send(add)  # type: ignore[call-overload]
    group(add)  # type: ignore[call-overload]
    chord([add.s(1, 2)], add)  # type: ignore[call-overload]


def methods_of_other_queues() -> None:
    add.delay(1, 2)  # type: ignore[attr-defined]
    add.s(1, 2).apply_async()  # type: ignore[attr-defined]
    add.send(1, 2).ready()  # type: ignore[attr-defined]
