"""``manage.py drivetrain …``: the command ``drivetrain`` for the app of the project."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from drivetrain.cli import main
from drivetrain.cli.app_options import APP_VARIABLE

__all__ = ["Command"]

#: The app that the command works with, unless ``--app`` names another one.
_APP = "drivetrain_django.boot:app"


class Command(BaseCommand):
    """All commands of ``drivetrain``, with all their options: ``manage.py drivetrain worker --queues high,default``."""

    help = "Run workers, and look after queues and results: manage.py drivetrain worker, … tasks, … --help"
    requires_system_checks: Sequence[str] = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Pass everything behind the name of the command on."""
        self._run(argv[2:], prog_name=f"{os.path.basename(argv[0])} {argv[1]}")  # noqa: PTH119 - a name, no file

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it from `call_command`: ``call_command("drivetrain", "tasks", "--state", "failed")``."""
        del options
        code = self._run([str(one) for one in args], prog_name="manage.py drivetrain", standalone_mode=False)
        if code:
            raise CommandError(
                f"{' '.join(['drivetrain', *args[:1]])} has ended with the exit code {code}", returncode=code
            )

    def add_arguments(self, parser: Any) -> None:
        """See `BaseCommand.add_arguments`."""
        parser.add_argument("args", nargs="*")

    def _run(self, args: Sequence[str], *, prog_name: str, standalone_mode: bool = True) -> Any:
        connections.close_all()  # a worker process must not share them
        os.environ.setdefault(APP_VARIABLE, _APP)
        return main(args=list(args), prog_name=prog_name, standalone_mode=standalone_mode)
