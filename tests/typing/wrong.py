"""Programs that are wrong, and what type checkers say of them: the error that each line marks, and no other.

A mark that is not needed is an error too, so ``make lint`` finds out when something wrong is no longer noticed.
"""

# mypy: disable-error-code="unused-awaitable"
# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import assert_type

from drivetrain import App, Result, chord, group

app = App("memory://")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


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

    group(add.s(1, 2)).set(on_member_failure="ignore")  # type: ignore[arg-type]


def tasks_instead_of_signatures() -> None:
    app.send(add)  # type: ignore[call-overload]
    group(add)  # type: ignore[arg-type]
    chord([add.s(1, 2)], add)  # type: ignore[arg-type]
