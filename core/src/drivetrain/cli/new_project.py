"""The files of a new project, as `drivetrain init` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["FILES"]

_TASKS = '''"""The tasks of this project. `drivetrain worker tasks:app` runs them."""

from drivetrain import App, chain, retry

# Without a URL, tasks and results are in an SQLite file here. On servers, set DRIVETRAIN_BROKER=redis://… for example.
app = App()


@app.task
def greet(name: str) -> str:
    return f"Hello, {name}"


@app.task(retry=retry.exponential(max_retries=3))
def shout(text: str) -> str:
    return text.upper() + "!"


if __name__ == "__main__":
    print(greet.send("Ada").get(timeout=30))
    print(app.send(chain(greet.s("Ada"), shout.s())).get(timeout=30))
'''

_CONFTEST = """pytest_plugins = ["drivetrain.pytest"]
"""

_TESTS = """import tasks
from drivetrain import chain


def test_a_task_is_a_function():
    assert tasks.greet("Ada") == "Hello, Ada"


def test_a_workflow(virtual_time, drivetrain_sent):
    result = tasks.app.send(chain(tasks.greet.s("Ada"), tasks.shout.s()))
    virtual_time.run_ready()
    assert result.get() == "HELLO, ADA!"
    assert drivetrain_sent.one(tasks.shout).arguments == {"text": "Hello, Ada"}
"""

_PYTEST = """[pytest]
drivetrain_app = tasks:app
pythonpath = .
testpaths = tests
"""

#: The text of each file, by its path in the project.
FILES: Final[Mapping[str, str]] = {
    "tasks.py": _TASKS,
    "pytest.ini": _PYTEST,
    "tests/conftest.py": _CONFTEST,
    "tests/test_tasks.py": _TESTS,
}
