# ruff: noqa: INP001 - site_hooks imports it from this directory
"""The page of the site that describes every name of `drivetrain.contract`, made from its source. Imports none of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

__all__ = ["contract_reference"]

PACKAGE = Path(__file__).resolve().parent.parent / "core" / "src" / "drivetrain" / "contract"
TITLES = {
    "broker": "Brokers",
    "messages": "Messages",
    "backend": "Backends",
    "versioned_values": "Versioned values",
    "states": "Tasks and groups",
    "capabilities": "Capabilities",
    "hookspecs": "Hooks",
    "serializer": "Serializers",
    "retry": "Retry policies",
    "timetables": "Timetables",
    "urls": "URLs",
    "hosts": "Hosts",
    "url_options": "Options of a URL",
    "namespaces": "Namespaces",
    "errors": "Errors",
    "failure": "Failures",
    "clock": "Clocks",
    "forks": "Forks",
    "records": "Values",
    "kit.options": "Driver kit: options",
    "kit.text": "Driver kit: text",
    "kit.sizes": "Driver kit: sizes",
    "kit.times": "Driver kit: times",
    "kit.batches": "Driver kit: batches",
    "kit.folding": "Driver kit: records and groups",
    "kit.record_codec": "Driver kit: records as bytes",
    "kit.versioned_values": "Driver kit: versioned values",
    "kit.dead_letters": "Driver kit: dead letters",
    "kit.waiting": "Driver kit: waiting",
    "kit.connection_pool": "Driver kit: connections",
    "kit.history": "Driver kit: changes of state",
}
#: The sections of a docstring that are lists of names.
LISTS = ("Args:", "Attributes:", "Raises:", "Returns:")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def contract_reference() -> str:
    """The page, in Markdown.

    Raises:
        KeyError: a module that the package exports from has no title here.
    """
    lines = ["# `drivetrain.contract`", "", *_introduction()]
    exported = _exported()
    for module in sorted(exported, key=list(TITLES).index):
        lines += [f"## {TITLES[module]}", ""]
        lines += _module(PACKAGE / f"{module.replace('.', '/')}.py", exported[module])
    return "\n".join(lines) + "\n"


def _introduction() -> Iterator[str]:
    yield from _markdown(ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))) or "")


def _exported() -> dict[str, list[str]]:
    """The names that the package exports, by the module that defines them."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    return {
        node.module.removeprefix("drivetrain.contract."): [alias.name for alias in node.names]
        for node in imports
        if node.module and node.module.startswith("drivetrain.contract.")
    }


def _module(path: Path, names: list[str]) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, Function) and node.name in names:
            yield from _function(node, "###")
        elif isinstance(node, ast.ClassDef) and node.name in names:
            yield from _class(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id in names:
                yield from (f"### `{target.id}`", "")
                yield from _markdown(_comment_above(source, node.lineno))


def _class(node: ast.ClassDef) -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield from (f"### `{node.name}`", "", "```python", f"class {node.name}{f'({bases})' if bases else ''}")
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and not ast.unparse(field.target).startswith("_"):
            yield f"    {ast.unparse(field)}"
    yield from ("```", "")
    yield from _markdown(ast.get_docstring(node) or "")
    for method in node.body:
        if isinstance(method, Function) and (not method.name.startswith("_")):
            yield from _function(method, "####", node.name)


def _function(node: Function, level: str, owner: str = "") -> Iterator[str]:
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    name = f"{owner}.{node.name}" if owner else node.name
    decorators = [f"@{ast.unparse(each)}" for each in node.decorator_list if ast.unparse(each) != "hookspec"]
    signature = f"def {node.name}({ast.unparse(node.args)}){result}"
    yield from (f"{level} `{name}`", "", "```python", *decorators, signature, "```", "")
    yield from _markdown(ast.get_docstring(node) or "")


def _comment_above(source: str, line: int) -> str:
    """The lines that begin with ``#:`` right above a line."""
    lines = source.splitlines()[: line - 1]
    found: list[str] = []
    while lines and lines[-1].startswith("#: "):
        found.append(lines.pop().removeprefix("#: "))
    return "\n".join(reversed(found))


def _markdown(docstring: str) -> Iterator[str]:
    """A docstring as Markdown: its lists of names become lists, its indented blocks stay as they are."""
    section = ""
    for line in cleandoc(docstring).splitlines():
        text = line.replace("``", "`")
        if text in LISTS:
            section = text
            yield from (f"**{text.removesuffix(':')}**", "")
        elif section and text.startswith("    "):
            yield _entry(text[4:])
        else:
            section = "" if text else section
            yield text
    yield ""


def _entry(text: str) -> str:
    """A line of a list of names; one that is indented further continues the entry above it."""
    named = re.match(r"(?P<names>\w+(?:, \w+)*): (?P<rest>.*)", text)
    if named is None:
        return f"  {text.strip()}" if text.startswith("    ") else text
    return f"- `{named['names']}`: {named['rest']}"
