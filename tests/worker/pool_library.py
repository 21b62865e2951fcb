"""A library of tasks that belong to no app by themselves; the module of tasks for child processes includes it."""

from drivetrain import Blueprint

library = Blueprint("library")


@library.task(pool="processes")
def cube(x: int) -> int:
    return x**3
