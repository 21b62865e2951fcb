"""Reading YAML, in a module of its own, so that apps without a YAML file do not import PyYAML."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

__all__ = ["parse"]


class _Loader(yaml.SafeLoader):
    """Refuses a duplicate key; the loader of PyYAML silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str) -> Any:
    """The plain value of YAML text.

    Raises:
        ValueError: it is not YAML, holds a type that is not plain, or a key twice. The message quotes nothing of it.
    """
    try:
        # A child of the safe loader, so it makes plain values only.
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        # Not str(error), which quotes the line, and the line may hold a password.
        mark = error.problem_mark
        at = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"{error.problem}{at}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("it contains an invalid character, or is nested too deeply") from error
