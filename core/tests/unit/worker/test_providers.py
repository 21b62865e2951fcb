"""Providers are opened around each run of a task, and closed after it in whatever way it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import wraps
from typing import Annotated

import pytest

from drivetrain import App, InvalidArguments, InvalidSignature, TaskFailed, provided, retry
from drivetrain.testing import VirtualTime

LOG: list[str] = []
FAILED = pytest.mark.parametrize("how", ["plain", "coroutine"])


@pytest.fixture(autouse=True)
def log() -> Iterator[list[str]]:
    LOG.clear()
    yield LOG
    LOG.clear()


@pytest.fixture
def app() -> App:
    return App("memory://", retry=None)


def settings() -> dict[str, str]:
    LOG.append("settings")
    return {"name": "db"}


def session(options: dict[str, str] = provided(settings)) -> Iterator[str]:
    LOG.append("open")
    try:
        yield f"session of {options['name']}"
    except ValueError:
        LOG.append("roll back")
        raise
    finally:
        LOG.append("close")


async def client() -> AsyncIterator[asyncio.AbstractEventLoop]:
    LOG.append("open client")
    loop = asyncio.get_running_loop()
    try:
        yield loop
    finally:
        assert asyncio.get_running_loop() is loop
        LOG.append("close client")


async def token() -> str:
    await asyncio.sleep(0)
    return "token"


Db = Annotated[str, provided(session)]


def ran(app, send):
    with VirtualTime(app) as time:
        result = send()
        time.run_ready()
        return result.get()


def test_a_generator_is_open_while_the_task_runs(app, log):
    @app.task
    def look_up(user: int, db: str = provided(session)) -> str:
        log.append("run")
        return f"{user} in {db}"

    assert ran(app, lambda: look_up.send(7)) == "7 in session of db"
    assert log == ["settings", "open", "run", "close"]


def test_an_annotation_may_name_the_provider(app):
    @app.task
    def look_up(user: int, db: Db = provided()) -> str:
        return f"{user} in {db}"

    assert ran(app, lambda: look_up.send(7)) == "7 in session of db"


def test_a_provider_is_called_once_in_a_run(app, log):
    def other(options: dict[str, str] = provided(settings)) -> str:
        return options["name"]

    @app.task
    def both(one: str = provided(session), two: str = provided(other), *, three: str = provided(session)) -> list[str]:
        return [one, two, three]

    assert ran(app, both.send) == ["session of db", "db", "session of db"]
    assert log == ["settings", "open", "close"]


def test_async_providers_of_an_async_task(app, log):
    @app.task
    async def fetch(
        page: str,
        loop: asyncio.AbstractEventLoop = provided(client),
        word: str = provided(token),
        db: str = provided(session),
    ) -> str:
        assert asyncio.get_running_loop() is loop
        log.append("run")
        return f"{page} {word} {db}"

    assert ran(app, lambda: fetch.send("/")) == "/ token session of db"
    assert log == ["open client", "settings", "open", "run", "close", "close client"]


def test_async_providers_of_a_plain_task(app, log):
    @app.task
    def fetch(word: str = provided(token), loop: asyncio.AbstractEventLoop = provided(client)) -> str:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        log.append("run")
        return word

    assert ran(app, fetch.send) == "token"
    assert log == ["open client", "run", "close client"]


@FAILED
def test_an_error_of_the_task_is_raised_in_the_provider(app, log, how):
    if how == "plain":

        @app.task(name="fail")
        def fail(db: str = provided(session)) -> None:
            raise ValueError("no")
    else:

        @app.task(name="fail")
        async def fail(db: str = provided(session)) -> None:
            raise ValueError("no")

    with pytest.raises(TaskFailed, match="no"):
        ran(app, fail.send)
    assert log == ["settings", "open", "roll back", "close"]


@FAILED
def test_a_provider_cannot_hide_an_error_of_the_task(app, how):
    def hiding() -> Iterator[None]:
        with suppress(ValueError):
            yield

    if how == "plain":

        @app.task(name="fail")
        def fail(it: None = provided(hiding)) -> None:
            raise ValueError("no")
    else:

        @app.task(name="fail")
        async def fail(it: None = provided(hiding)) -> None:
            raise ValueError("no")

    with pytest.raises(TaskFailed, match="no"):
        ran(app, fail.send)


def test_each_attempt_opens_again_and_an_error_while_closing_fails_the_run(app, log):
    def committing() -> Iterator[None]:
        yield
        log.append("commit")
        if log.count("commit") == 1:
            raise ConnectionError("the database is away")

    @app.task(retry=retry.fixed(1, max_retries=1))
    def write(it: None = provided(committing)) -> str:
        return "written"

    with VirtualTime(app) as time:
        result = write.send()
        time.run_for(seconds=5)
        assert result.get() == "written"
    assert log == ["commit", "commit"]


def test_a_call_opens_providers_too_unless_it_gives_the_value(app, log):
    @app.task
    def look_up(user: int, db: str = provided(session)) -> str:
        return f"{user} in {db}"

    assert look_up(7) == "7 in session of db"
    assert log == ["settings", "open", "close"]
    assert look_up(7, "mine") == look_up(7, db="mine") == "7 in mine"
    assert log == ["settings", "open", "close"]


def test_a_provided_parameter_cannot_be_sent(app):
    @app.task(name="look_up")
    def look_up(user: int, db: str = provided(session)) -> str:
        return db

    with pytest.raises(InvalidArguments, match="unexpected keyword argument 'db'"):
        look_up.send(7, db="mine")
    with pytest.raises(InvalidArguments, match="takes 1 positional arguments but 2 were given"):
        look_up.send(7, "mine")


def test_a_provided_parameter_may_have_a_type_that_cannot_be_sent(app):
    class Connection: ...

    def connect():
        return Connection()

    @app.task
    def use(connection=provided(connect)) -> bool:
        return isinstance(connection, Connection)

    assert ran(app, use.send)


def test_a_decorated_coroutine_function(app, log):
    def logged(function):
        @wraps(function)
        def inner(*args, **kwargs):
            log.append("decorator")
            return function(*args, **kwargs)

        return inner

    @app.task
    @logged
    async def look_up(user: int, db: str = provided(session)) -> str:
        await asyncio.sleep(0)
        log.append("run")
        return db

    assert ran(app, lambda: look_up.send(7)) == "session of db"
    assert log == ["settings", "open", "decorator", "run", "close"]


def test_an_override_replaces_a_provider_for_a_time(app, log):
    def fake(number: int = provided(lambda: 5)) -> str:
        return f"fake {number}"

    @app.task
    def look_up(db: str = provided(session)) -> str:
        return db

    with app.override(session, fake):
        assert ran(app, look_up.send) == "fake 5"
        with app.override(session, lambda: "inner"):
            assert look_up() == "inner"
        assert look_up() == "fake 5"
    assert log == []
    assert look_up() == "session of db"


def test_what_a_provider_needs_can_be_overridden(app):
    @app.task
    def look_up(db: str = provided(session)) -> str:
        return db

    with app.override(settings, lambda: {"name": "test"}):
        assert ran(app, look_up.send) == "session of test"


def test_a_worker_runs_them_in_its_threads_and_on_its_loop(app):
    @app.task(name="one")
    def one(db: str = provided(session)) -> str:
        return db

    @app.task(name="two")
    async def two(db: str = provided(session), loop: asyncio.AbstractEventLoop = provided(client)) -> str:
        return db

    with app.worker():
        assert one.send().get(timeout=60) == two.send().get(timeout=60) == "session of db"


def needs_number(number: int) -> int:
    return number


def needs_itself(it: int = provided(lambda: 1)) -> int:
    return it


needs_itself.__defaults__ = (provided(needs_itself),)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("lambda a=provided(needs_number): a", "needs_number.*parameter 'number' that nothing supplies"),
        ("lambda a=provided(needs_itself): a", "need each other: needs_itself -> needs_itself"),
        ("lambda a=provided(): a", "nothing provides 'a'; name a function: a=provided"),
        ("lambda a=provided(settings), b=1: a", "'a' is provided, so it must come after 'b'"),
        ("lambda a=provided(settings), /: a", "'a' is provided, so it needs a keyword"),
        ("lambda a=provided(5): a", "provided.5.: a provider is a function"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_task_is_registered(app, wrong, says):
    with pytest.raises(InvalidSignature, match=says):
        app.task(name="wrong")(eval(wrong))


def test_an_annotation_without_the_default_is_refused(app):
    def look_up(db): ...

    look_up.__annotations__ = {"db": Db}
    with pytest.raises(InvalidSignature, match=r"names a provider, so give it the default provided\(\)"):
        app.task(look_up)


def test_the_default_shows_its_provider():
    assert repr(provided(settings)) == "provided(settings)"
