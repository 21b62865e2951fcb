"""Rich values to plain values and back.

*Plain* is None, bool, int within signed 64 bit, finite float, str without lone surrogates, list, and dict with str
keys: what any JSON library carries exactly. **The plain form is a function of the value alone** and says what it is,
because a value flows from one task's return annotation into another's parameter annotation. These stand as themselves;
everything else is a dict with the key ``"$"``, which tells what it stands for.

Annotations check a value before it is sent, exactly (`int` takes int and bool, `float` also int, nothing is converted),
and name the classes that may be rebuilt. An instance of a subclass of a built-in type is first made one of the type
that is annotated (see `drivetrain.workflow.values.narrowing`). Decoding imports nothing and executes nothing by a name
from the wire, and no code of a class that it rebuilds.
"""

from drivetrain.workflow.values.converter import Values
from drivetrain.workflow.values.errors import UnsupportedAnnotation, ValueMismatch, shown

__all__ = ["UnsupportedAnnotation", "ValueMismatch", "Values", "shown"]
