"""Converts rich values to plain values and back.

*Plain* values are None, bool, int within signed 64 bit, finite float, str without lone surrogates, list, and dict with
str keys: any JSON library carries them exactly. They are their own plain form. Any other value becomes a dict whose key
``"$"`` holds a tag for its type. **The plain form depends on the value alone** and identifies its type, because a value
flows from one task's return annotation into another's parameter annotation.

Annotations check a value before it is sent, and name the classes that may be rebuilt. The check is exact: `int` takes
int and bool, `float` also takes int, and nothing is converted. An instance of a subclass of a built-in type is first
converted to the annotated type (see `drivetrain.workflow.values.narrowing`). Decoding neither imports nor executes
anything by a name from a message, and runs no code of a class that it rebuilds.
"""

from drivetrain.workflow.values.converter import Values
from drivetrain.workflow.values.errors import UnsupportedAnnotation, ValueMismatch, shown

__all__ = ["UnsupportedAnnotation", "ValueMismatch", "Values", "shown"]
