"""What can be a task, and when one function may take the name of another; decided where the task is defined."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from drivetrain import App, ConfigurationError, InvalidArguments, InvalidSignature, TaskFailed
from drivetrain.worker.context import current_task
from drivetrain.worker.registry import Pool

WAIT = 20


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://") as made:
        yield made


# What can be a task


def generator(count: int) -> Iterator[int]:
    yield from range(count)


async def async_generator(count: int) -> AsyncIterator[int]:
    yield count


class Thing:
    """A class, and objects with methods of every kind."""

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.runtime = "an attribute with a name of ours"

    def method(self, x: int) -> int:
        return x + self.number

    async def async_method(self, x: int) -> int:
        return x + self.number

    def yielding(self, x: int) -> Iterator[int]:
        yield x

    @staticmethod
    def static(x: int) -> int:
        return x + 1

    @classmethod
    def of_class(cls, x: int) -> int:
        return x + len(cls.__name__)

    partial = functools.partialmethod(method, 1)
    is_property = property(method)


class Caller:
    def __call__(self, x: int) -> int:
        return x + 1


class AsyncCaller:
    async def __call__(self, x: int) -> int:
        await asyncio.sleep(0)
        return x + 1


class YieldingCaller:
    def __call__(self, x: int) -> Iterator[int]:
        yield x


async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


def logged(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


def without_wraps(function):
    def inner(x: int) -> int:
        return function(x)

    return inner


def waiting(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return asyncio.run(function(*args, **kwargs))

    return inner


def with_db(function):
    """A decorator that gives the first argument itself, and declares the others."""

    @functools.wraps(function)
    def inner(x):
        return function("db", x)

    return inner


def with_db_and_all_others(function):
    """The same for any function; it says by its signature what is left to give."""

    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function("db", *args, **kwargs)

    signature = inspect.signature(function)
    inner.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
    return inner


def counting(function):
    """A decorator that changes the result, and says so."""

    @functools.wraps(function)
    def inner(*args, **kwargs):
        return [function(*args, **kwargs)]

    inner.__signature__ = inspect.signature(function).replace(return_annotation="list[int]")
    return inner


def db_first(db: str, x: int) -> str:
    return f"{db}{x}"


def plus_one(x: int) -> int:
    return x + 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (generator, "generator cannot be a task: it is a generator function.*return a list"),
        (async_generator, "it is an async generator function.*return a list"),
        (Thing().yielding, "it is a generator function"),
        (YieldingCaller(), "it is a generator function"),
        (functools.partial(generator, 1), "it is a generator function"),
        (Thing, "Thing cannot be a task: it is a class; decorate a function"),
        (vars(Thing)["of_class"], "it cannot be called; decorate a function"),
        (vars(Thing)["partial"], "it cannot be called"),
        (vars(Thing)["is_property"], "it cannot be called"),
        (3, "3 cannot be a task: it cannot be called"),
        (max, "max cannot be a task: Python cannot read its parameters"),
    ],
)
def test_what_no_worker_could_run_is_refused_where_it_is_defined(app, function, reason):
    for decorate in (app.task, app.task(name="named")):
        with pytest.raises(InvalidSignature, match=reason):
            decorate(function)
    assert not app.tasks


@pytest.mark.parametrize("function", [functools.partial(pow, 2), Caller(), AsyncCaller()])
def test_what_has_no_name_asks_for_one(app, function):
    with pytest.raises(InvalidSignature, match=r"has no name of its own; give it one: app\.task\(name=…\)"):
        app.task(function)


@pytest.mark.parametrize(
    "function",
    [
        plus_one,
        lambda x: x + 1,
        functools.partial(plus_one),
        functools.partial(lambda y, x: x + y, 1),
        Caller(),
        Thing().method,
        Thing.of_class,
        Thing.static,
        vars(Thing)["static"],
        logged(plus_one),
        functools.lru_cache(plus_one),
        later,
        functools.partial(later),
        AsyncCaller(),
        functools.partial(AsyncCaller()),
        Thing().async_method,
        staticmethod(later),
        logged(later),
        functools.partial(logged(later)),
        logged(logged(later)),
        without_wraps(later),
        waiting(later),
    ],
)
def test_callables_of_every_kind_run(app, function):
    expected = function(1)
    if inspect.iscoroutine(expected):
        expected = asyncio.run(expected)
    task = app.task(name="task")(function)
    with app.worker():
        assert task.send(1).get(WAIT) == expected
        assert task.send(x=1).get(WAIT) == expected


@pytest.mark.parametrize("function", [later, AsyncCaller(), functools.partial(AsyncCaller()), Thing().async_method])
def test_whatever_is_async_runs_on_the_loop(app, function):
    assert app.task(name="task")(function).definition.pool is Pool.LOOP
    with pytest.raises(ConfigurationError, match="async def function, which cannot run in the pool 'threads'"):
        app.task(name="other", pool="threads")(function)


def test_a_plain_decorator_around_a_coroutine_function_runs_in_a_thread_or_when_asked_on_the_loop(app):
    async def where(x: int) -> tuple[str, str]:
        await asyncio.sleep(0)
        return threading.current_thread().name.rsplit("-", 1)[0], current_task().task

    in_a_thread = app.task(name="in a thread")(logged(where))
    on_the_loop = app.task(name="on the loop", pool="loop")(logged(where))
    with app.worker():
        assert in_a_thread.send(1).get(WAIT) == ("drivetrain-task", "in a thread")
        assert on_the_loop.send(1).get(WAIT) == ("drivetrain", "on the loop")


def test_the_time_limit_of_a_coroutine_in_a_thread_is_kept(app):
    async def endless() -> None:
        await asyncio.Event().wait()

    task = app.task(name="endless", timeout=0.05)(logged(endless))
    with app.worker(), pytest.raises(TaskFailed, match="TaskTimeout"):
        task.send().get(WAIT)


@pytest.mark.parametrize("decorate", [with_db, with_db_and_all_others])
def test_a_decorator_that_gives_an_argument_itself_leaves_the_others(app, decorate):
    task = app.task(name="task")(decorate(db_first))
    with app.worker():
        assert task.send(1).get(WAIT) == "db1"
        assert task.send(x=2).get(WAIT) == "db2"
    with pytest.raises(InvalidArguments, match="takes 1 positional arguments but 2 were given"):
        task.send("db", 1)
    with pytest.raises(InvalidArguments, match="parameter 'x' expects int"):
        task.send("1")


def test_a_decorator_that_hides_its_arguments_is_reported_with_advice(app):
    def hiding(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return function("db", *args, **kwargs)

        return inner

    task = app.task(name="task")(hiding(db_first))
    with pytest.raises(InvalidArguments, match="missing argument 'x' .*must set __signature__"):
        task.send(1)
    plain = app.task(name="plain")(plus_one)
    with pytest.raises(InvalidArguments, match="missing argument 'x'$"):
        plain.send()


def test_a_decorator_that_changes_the_result_declares_its_type(app):
    task = app.task(name="task")(counting(plus_one))
    with app.worker():
        assert task.send(1).get(WAIT) == [2]


def test_a_task_may_be_registered_once_more_and_in_another_app(app):
    with App("memory://") as other:
        first = app.task(name="task")(plus_one)
        assert app.task(name="task", queue="q")(first).definition.defaults.queue == "q"
        second = other.task(first)
        assert second.runtime is other.runtime
        assert second.definition.function is plus_one


def test_attributes_of_the_function_do_not_hide_ours(app):
    class Configured(Caller):
        def __init__(self):
            self.runtime = self.definition = self.name = "mine"

    task = app.task(name="task")(Configured())
    with app.worker():
        assert task.send(1).get(WAIT) == 2
        assert (task.runtime, task.name) == (app.runtime, "task")


def test_a_task_of_the_processes_pool_that_a_child_could_not_find_is_refused_when_the_worker_is_made(app):
    app.task(name="power", pool="processes")(functools.partial(pow, 2))
    with pytest.raises(ConfigurationError, match="'power' uses the processes pool.*at the top level of a module"):
        app.worker()


# When one function may take the name of another


def make(app, answer):
    @app.task
    def inner() -> Any:
        return answer

    return inner


def test_two_closures_of_one_function_are_two_tasks(app):
    first = make(app, "first")
    with pytest.raises(ConfigurationError, match=r"two tasks are named .*make\.<locals>\.inner.*name=…"):
        make(app, "second")
    with app.worker():
        assert first.send().get(WAIT) == "first"


def test_two_lambdas_are_two_tasks(app):
    app.task(lambda: 1)
    with pytest.raises(ConfigurationError, match="two tasks are named"):
        app.task(lambda: 2)


def test_two_functions_of_one_name_in_one_module_are_two_tasks(app):
    names = {"__name__": "shop", "__file__": "shop.py", "app": app}
    source = "@app.task\ndef price():\n    return 1\n\n@app.task\ndef price():\n    return 2\n"
    with pytest.raises(ConfigurationError, match=r"shop\.price \(line 1\) and shop\.price \(line 5\)"):
        exec(compile(source, "shop.py", "exec"), names)


def test_two_objects_of_one_class_are_two_tasks(app):
    app.task(name="task")(Caller())
    with pytest.raises(ConfigurationError, match="two tasks are named"):
        app.task(name="task")(Caller())
    thing = Thing(1)
    app.task(thing.method)
    app.task(thing.method)  # the same
    with pytest.raises(ConfigurationError, match="two tasks are named"):
        app.task(Thing(2).method)


def test_an_inner_function_without_surroundings_of_its_own_is_the_same_each_time(app):
    def define():
        @app.task(name="task")
        def inner() -> int:
            return 1

    define()
    define()


def test_defaults_tell_two_functions_apart(app):
    def define(number):
        @app.task(name="task")
        def inner(x: int = number) -> int:
            return x

    define(1)
    define(1)
    with pytest.raises(ConfigurationError, match="two tasks are named"):
        define(2)


SHOP = "import shop_app\n\n{blank}@shop_app.app.task\ndef price() -> int:\n    return {price}\n"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Writes a module ``shop``, whose app is in another one, which is not loaded again with it."""
    (tmp_path / "shop_app.py").write_text('from drivetrain import App\n\napp = App("memory://")\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(**text):
        (tmp_path / "shop.py").write_text(SHOP.format(**{"blank": "", **text}))
        importlib.invalidate_caches()
        return tmp_path / "shop.py"

    yield write
    for name in ("shop", "shop_app"):
        sys.modules.pop(name, None)


def test_a_module_that_is_reloaded_brings_its_tasks_again(shop):
    shop(price=1)
    module = importlib.import_module("shop")
    shop(price=2, blank="# moved down\n")
    importlib.reload(module)
    assert module.price() == 2
    assert module.shop_app.app.tasks["shop.price"].function() == 2


def test_a_module_that_is_imported_again_brings_its_tasks_again(shop):
    shop(price=1)
    importlib.import_module("shop")
    del sys.modules["shop"]
    shop(price=2)
    assert importlib.import_module("shop").shop_app.app.tasks["shop.price"].function() == 2


def test_a_program_that_also_imports_itself_brings_its_tasks_twice(shop):
    path = shop(price=1)
    with path.open("a") as file:
        file.write("\nif __name__ == '__main__':\n    import shop\n    print(list(shop_app.app.tasks))\n")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == "['shop.price']\n", done.stderr


def test_what_is_typed_in_again_takes_its_own_place(app):
    session = {"__name__": "notebook", "app": app}
    for number, cell in enumerate(["@app.task\ndef price(): return 1", "@app.task\ndef price(): return 2"]):
        exec(compile(cell, f"<cell {number}>", "exec"), session)
    assert app.tasks["notebook.price"].function() == 2
    exec(compile("app.task(lambda: 1)", "<cell 2>", "exec"), session)
    with pytest.raises(ConfigurationError, match="two tasks are named"):
        exec(compile("app.task(lambda: 2)", "<cell 3>", "exec"), session)


def test_a_function_that_is_defined_again_loses_the_aliases_that_it_has_no_more(app):
    app.task(name="task", aliases=("former",))(plus_one)
    app.task(name="task", aliases=("other",))(plus_one)
    assert {name: name in app.tasks for name in ("task", "former", "other")} == {
        "task": True,
        "former": False,
        "other": True,
    }
