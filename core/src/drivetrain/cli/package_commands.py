"""Commands of other packages: click commands that entry points in the group ``drivetrain.commands`` name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click
import importlib_metadata

from drivetrain.contract import ConfigurationError

__all__ = ["COMMANDS_GROUP", "CommandGroup"]

COMMANDS_GROUP = "drivetrain.commands"

#: The commands of the project's own packages, to say what to install.
_PACKAGES: Mapping[str, str] = {"dashboard": "drivetrain-dashboard"}


class CommandGroup(click.Group):
    """A group with commands of its own, and those of installed packages. Its own commands have precedence.

    A package is imported only for the help of the group, and when its command is called.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *_entry_points()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; None: there is none."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = _entry_points().get(cmd_name)
        return None if entry is None else _load(entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group.resolve_command`. The error for a command of a missing package says what to install."""
        package = _PACKAGES.get(args[0])
        if package is not None and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"the command {args[0]!r} needs a package: pip install {package}", ctx)
        return super().resolve_command(ctx, args)


def _entry_points() -> Mapping[str, importlib_metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib_metadata.entry_points(group=COMMANDS_GROUP)}


def _load(entry: importlib_metadata.EntryPoint) -> click.Command:
    """The command of an entry point; if it cannot be imported, one that says so when it is called."""
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the code of a package may raise anything
        return _broken(entry, f"it cannot be imported ({entry.value}): {type(error).__name__}: {error}")
    return found if isinstance(found, click.Command) else _broken(entry, f"{entry.value} is not a click command")


def _broken(entry: importlib_metadata.EntryPoint, reason: str) -> click.Command:
    package = "its package" if entry.dist is None else entry.dist.name
    text = f"the command {entry.name!r} of {package} does not work: {reason}"

    def fail(**_: Any) -> None:
        raise ConfigurationError(text)

    callback: Callable[..., None] = fail
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(entry.name, callback=callback, short_help=f"({text})", context_settings=settings)
