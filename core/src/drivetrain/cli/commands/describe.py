"""``drivetrain describe``."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from itertools import groupby

import click
from attrs import frozen

from drivetrain.app.application import App
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.capability_report import Statement, of_backend, of_broker, of_pair
from drivetrain.cli.output import echo_json, json_option, printable
from drivetrain.contract import DriverUrl, redact

__all__ = ["describe"]

#: The width of the text without a terminal.
_WIDTH = 100


@frozen
class _Part:
    """A driver, or the pair of both."""

    name: str
    #: The URL without its secrets; None: the part is the pair.
    url: str | None
    namespace: str | None
    statements: Sequence[Statement]


@click.command()
@click.argument("reference", required=False, metavar="[MODULE:APP]")
@json_option
@app_options
@click.pass_context
def describe(ctx: click.Context, reference: str | None, as_json: bool) -> None:
    """Describe what an app's broker and backend do: what is native, what core supplies, what is refused.

    Also how late delayed tasks may come, and what a crash can cost. It connects to no service: the answer follows from
    the capabilities that the drivers declare for these URLs.
    """
    options = options_of(ctx)
    options.app = reference or options.app
    with options.open_app() as app:
        parts = _parts(app)
        if as_json:
            echo_json({part.name: _document(part) for part in parts})
        else:
            click.echo("\n".join(_lines(parts)))


def _parts(app: App) -> list[_Part]:
    broker, backend = app.runtime.broker.capabilities, app.runtime.backend.capabilities
    settings = app.settings
    return [
        _part("broker", settings.broker, settings.name, of_broker(broker)),
        # Without a backend of its own, an app keeps its results where its messages are.
        _part("backend", settings.backend or settings.broker, settings.name, of_backend(backend)),
        _Part("together", None, None, of_pair(broker, backend)),
    ]


def _part(name: str, url: str, app_name: str, statements: Iterable[Statement]) -> _Part:
    namespace = DriverUrl.parse(url).options.get("namespace", app_name)
    return _Part(name, redact(url), namespace, list(statements))


def _sections(part: _Part) -> dict[str, list[str]]:
    grouped = groupby(part.statements, key=lambda statement: statement.section)
    return {section.value: [statement.text for statement in statements] for section, statements in grouped}


def _document(part: _Part) -> dict[str, object]:
    document = {"url": part.url, "namespace": part.namespace} if part.url is not None else {}
    return {**document, **_sections(part)}


def _lines(parts: Sequence[_Part]) -> list[str]:
    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    lines: list[str] = []
    for part in parts:
        lines += [*([""] if lines else []), _heading(part)]
        for section, texts in _sections(part).items():
            lines.append(f"  {section}")
            lines += [_wrapped(printable(text), width) for text in texts]
    return lines


def _heading(part: _Part) -> str:
    return f"{part.name}  {printable(f'{part.url}, namespace {part.namespace}')}" if part.url else part.name


def _wrapped(text: str, width: int) -> str:
    return click.wrap_text(text, width=width, initial_indent="    - ", subsequent_indent="      ")
