"""References by which a child process finds a task of the processes pool."""

from __future__ import annotations

import importlib
from typing import Any

from attrs import frozen

from drivetrain.contract import ConfigurationError
from drivetrain.worker.chunks import chunked_name
from drivetrain.worker.registry import TaskDefinition

__all__ = ["TaskReference"]


@frozen
class TaskReference:
    """Where a child process finds a task: an attribute of a module that was made by ``@app.task``."""

    module: str
    qualname: str
    #: A module that must be imported before: see `TaskDefinition.included_by`.
    included_by: str = ""

    @classmethod
    def to(cls, definition: TaskDefinition) -> TaskReference:
        """The reference to a task.

        Raises:
            ConfigurationError: it cannot be found from another process.
        """
        function = definition.function
        # A partial has no name of its own.
        qualname = getattr(function, "__qualname__", type(function).__qualname__)
        reference = cls(function.__module__, qualname, definition.included_by)
        try:
            found = reference.find()
        except (ImportError, AttributeError):
            found = None
        if getattr(found, "name", None) != chunked_name(definition.name):
            raise ConfigurationError(
                f"task {definition.name!r} uses the processes pool, but {reference.module}.{reference.qualname} is "
                "not this task; define it at the top level of a module, with @app.task"
            )
        return reference

    def find(self) -> Any:
        """The task; imports its module, and that of the app."""
        if self.included_by:
            importlib.import_module(self.included_by)
        found: Any = importlib.import_module(self.module)
        for name in self.qualname.split("."):
            found = getattr(found, name)
        return found
