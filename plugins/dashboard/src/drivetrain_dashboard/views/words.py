"""Search words as a person types them into one field: separated by spaces, values with spaces in quotes. Pure."""

from __future__ import annotations

import shlex

from drivetrain.contract import ConfigurationError

__all__ = ["joined_words", "split_words"]


def split_words(text: str) -> list[str]:
    r"""The words of a search: ``state:failed task:"send mail"`` has two. A backslash stands for itself.

    Raises:
        ConfigurationError: a quote is not closed.
    """
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = lexer.escape = ""
    lexer.quotes = '"'
    try:
        return list(lexer)
    except ValueError:
        raise ConfigurationError(
            f'{text!r} has a quote that is not closed; write values like task:"send mail"'
        ) from None


def joined_words(**values: str) -> str:
    """A search for these values, as `split_words` reads it: ``joined_words(state="failed", task="send mail")``.

    A value with a double quote is left out, since it cannot be written.
    """
    return " ".join(
        f'{name}:"{value}"' if any(map(str.isspace, value)) else f"{name}:{value}"
        for name, value in values.items()
        if value and '"' not in value
    )
