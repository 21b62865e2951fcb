"""The file with the users of ``drivetrain dashboard``: a line for each, with name, role and password hash."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from drivetrain.contract import ConfigurationError
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.web.passwords import User

__all__ = ["add_user", "read_users"]


def read_users(path: Path) -> Mapping[str, User]:
    """The users in a file, by name. Empty lines, and those that begin with ``#``, are left out.

    Raises:
        ConfigurationError: the file cannot be read, or a line is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the users of the dashboard from {path}: {error}") from error
    users: dict[str, User] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            name, user = _user(line.strip(), f"{path}, line {number}")
            if name in users:
                raise ConfigurationError(f"{path}, line {number}: there is a user {name!r} already; remove one")
            users[name] = user
    if not users:
        raise ConfigurationError(f"{path} has no users; add one with --add-user NAME --users {path}")
    return users


def add_user(path: Path, name: str, user: User) -> None:
    """Write a user into a file, in the place of the one of this name. Only the owner can read the file.

    Raises:
        ConfigurationError: the name has a colon, or is empty; or the file cannot be written.
    """
    if not name or ":" in name or not name.isprintable() or name.startswith("#"):
        raise ConfigurationError(f"the name of a user is {name!r}; use printable characters, without a colon")
    line = f"{name}:{user.role.value}:{user.password_hash}"
    try:
        before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [one for one in before if one.partition(":")[0] != name]
        written = path.with_name(f"{path.name}.new")
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join([*kept, line, ""]))
        written.replace(path)
    except OSError as error:
        raise ConfigurationError(f"cannot write the users of the dashboard to {path}: {error}") from error


def _user(line: str, where: str) -> tuple[str, User]:
    parts = line.split(":")
    if len(parts) != 3:
        raise ConfigurationError(f"{where} has {len(parts)} parts; write name:role:hash, or use --add-user NAME")
    name, role, password_hash = parts
    if role not in set(Role):
        raise ConfigurationError(f"{where} has the role {role!r}; use one of {', '.join(Role)}")
    try:
        return name, User(password_hash=password_hash, role=Role(role))
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
