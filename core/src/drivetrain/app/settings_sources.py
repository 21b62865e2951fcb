"""Where settings come from: a TOML or YAML file, ``DRIVETRAIN_*`` variables, and code. Here they are only read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

__all__ = ["Source", "code_source", "environment_source", "file_source"]

_PREFIX = "DRIVETRAIN_"

#: The variable that names the file. It is not a setting.
_CONFIG = "DRIVETRAIN_CONFIG"

#: The variable that names the app of the command line. It is not a setting either.
_APP = "DRIVETRAIN_APP"

#: Variables that are not settings. Kubernetes sets variables with the address of each service, so a service called
#: "drivetrain…" would otherwise keep every worker from starting. ``DRIVETRAIN_TEST_…`` belongs to test suites.
_FOREIGN = re.compile(r"TEST_.*|(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")


@frozen(kw_only=True)
class Source:
    """The settings of one source, not checked yet."""

    values: Mapping[str, Any] = field(factory=dict)
    #: The location of a setting, for messages; ``{}`` is replaced by the setting's name in capitals.
    location: str
    #: Whether values are text, to be read by the setting's type.
    text: bool = False
    #: Why the source itself could not be read.
    faults: tuple[str, ...] = ()


def code_source(code: Mapping[str, object]) -> Source:
    """Settings given in code."""
    return Source(values=code, location="argument")


def environment_source(environ: Mapping[str, str]) -> Source:
    """Settings from ``DRIVETRAIN_*`` variables. Those that are empty count as not set, as compose files make them."""
    ours = {name.removeprefix(_PREFIX): text for name, text in environ.items() if name.startswith(_PREFIX) and text}
    values = {
        name.lower(): text
        for name, text in ours.items()
        if _PREFIX + name not in {_CONFIG, _APP} and not _FOREIGN.fullmatch(name)
    }
    return Source(values=values, location=f"{_PREFIX}{{}}", text=True)


def file_source(file: str | Path | None, environ: Mapping[str, str]) -> Source:
    """Settings from ``file``, or else from the one that ``DRIVETRAIN_CONFIG`` names; from none if there is neither.

    A ``.toml`` file has them at its top or in a table ``[drivetrain]``, ``pyproject.toml`` in ``[tool.drivetrain]``;
    a ``.yaml`` or ``.yml`` file has them at its top or under ``drivetrain:``.
    """
    named = file or environ.get(_CONFIG)
    if not named:
        return Source(location="no file")
    path = Path(named)
    location = str(path).replace("{", "{{").replace("}", "}}")
    try:
        return Source(location=location, values=_settings_of(path, _parse(path)))
    except _Unreadable as error:
        return Source(location=location, faults=(f"{path}: {error}",))


class _Unreadable(Exception):
    pass


def _parse(path: Path) -> Any:
    parse = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml}.get(path.suffix.lower())
    if parse is None:
        raise _Unreadable("a settings file ends in .toml, .yaml or .yml")
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _Unreadable(f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _Unreadable(f"is not UTF-8: {error.reason} at byte {error.start}") from error


def _toml(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _Unreadable(f"is not TOML: {error}") from error


def _yaml(text: str) -> Any:
    from drivetrain.app.yaml_text import parse

    try:
        return parse(text)
    except ValueError as error:
        raise _Unreadable(f"is not YAML: {error}") from error


def _settings_of(path: Path, content: Any) -> Mapping[str, Any]:
    if path.name == "pyproject.toml":
        content = content.get("tool", {})
        content = content.get("drivetrain", {}) if isinstance(content, dict) else content
    elif isinstance(content, dict) and isinstance(content.get("drivetrain"), dict):
        content = content["drivetrain"]
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise _Unreadable(f"holds {type(content).__name__}, but must contain a table of settings")
    return {str(name): value for name, value in content.items()}
