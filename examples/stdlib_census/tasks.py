"""The two tasks of the census, and an observer that keeps a ledger of what the workers do."""

import ast
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drivetrain import App, TaskEvent, hookimpl

# Some of the files are there to be warned about.
warnings.filterwarnings("ignore", category=SyntaxWarning)


class Ledger:
    """Appends one line for each start and each success to a file of this process, in the current directory."""

    def __init__(self) -> None:
        self._file: int | None = None

    @hookimpl
    def task_started(self, event: TaskEvent) -> None:
        self._write("started", event.task_id)

    @hookimpl
    def task_succeeded(self, event: TaskEvent) -> None:
        self._write("succeeded", event.task_id)

    def _write(self, what: str, task_id: str) -> None:
        if self._file is None:
            self._file = os.open(f"ledger-{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        # One write to the system for each line: what is written survives a SIGKILL.
        os.write(self._file, f"{time.time()!r} {what} {task_id}\n".encode())


#: Nothing is configured: broker and backend are an SQLite file in the current directory.
app = App(plugins=[Ledger()])


@dataclass(frozen=True)
class Function:
    """A function and its length."""

    name: str
    lines: int


@dataclass(frozen=True)
class Report:
    """What is counted: in a file, in a module, or in all of them."""

    module: str
    files: int = 0
    unparsed: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    longest: Function = Function("", 0)


@dataclass(frozen=True)
class Census:
    """The whole library, and its top-level modules by name."""

    total: Report
    modules: list[Report]


@app.task
def analyse(directory: str, path: str) -> Report:
    """Count what is in one file."""
    source = Path(directory, path).read_bytes()
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    lines = len(source.splitlines())
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Report(module, files=1, unparsed=1, lines=lines)
    kinds: Counter[str] = Counter()
    longest = Function("", 0)
    for statement in statements(tree):
        if isinstance(statement, ast.ClassDef):
            kinds["classes"] += 1
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            kinds["functions"] += 1
            length = (statement.end_lineno or statement.lineno) - statement.lineno + 1
            longest = longer(longest, Function(f"{module}.{statement.name}", length))
    return Report(module, 1, 0, lines, kinds["functions"], kinds["classes"], longest)


@app.task
def merge(reports: list[Report]) -> Census:
    """Add the files up, by top-level module."""
    modules: dict[str, Report] = {}
    total = Report("all")
    for report in reports:
        name = report.module.partition(".")[0]
        modules[name] = added(modules.get(name, Report(name)), report)
        total = added(total, report)
    return Census(total, [modules[name] for name in sorted(modules)])


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every statement, without a look into expressions, where none can be."""
    waiting = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
                waiting.append(child)
                yield child


def added(one: Report, other: Report) -> Report:
    return Report(
        one.module,
        one.files + other.files,
        one.unparsed + other.unparsed,
        one.lines + other.lines,
        one.functions + other.functions,
        one.classes + other.classes,
        longer(one.longest, other.longest),
    )


def longer(one: Function, other: Function) -> Function:
    """The longer of two functions; of two that are equally long, the one whose name comes first."""
    return min(one, other, key=lambda function: (-function.lines, function.name))
