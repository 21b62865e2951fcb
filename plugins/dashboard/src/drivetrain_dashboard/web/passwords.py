"""Passwords: hashed with scrypt, and checked in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from attrs import field, frozen

from drivetrain.contract import ConfigurationError
from drivetrain_dashboard.actions.roles import Role

__all__ = ["PasswordChecker", "User", "hash_password"]

#: What scrypt costs: about 50 ms and 16 MB for each password.
_N, _R, _P = 2**14, 8, 1
_SALT_BYTES = 16
#: How many passwords are checked at once. More requests wait, so that guessing costs little of the machine.
_AT_ONCE = 2
#: How many credentials that were right are remembered, so that a browser's requests do not cost 50 ms each.
_MOST_REMEMBERED = 100


def hash_password(password: str) -> str:
    """The hash of a password, for `User`: ``scrypt$…``.

    Raises:
        ConfigurationError: the password is empty.
    """
    if not password:
        raise ConfigurationError("the password is empty; choose one, for example with `openssl rand -base64 18`")
    salt = os.urandom(_SALT_BYTES)
    return f"scrypt${_text(salt)}${_text(_scrypt(password, salt))}"


def _check_hash(_user: object, _attribute: object, value: str) -> None:
    parts = value.split("$")
    if len(parts) != 3 or parts[0] != "scrypt" or not all(map(_bytes, parts[1:])):
        raise ConfigurationError(
            "a password hash is wrong; make one with drivetrain_dashboard.hash_password(…), or with "
            "`drivetrain dashboard --add-user NAME --users FILE`"
        )


@frozen(kw_only=True)
class User:
    """A user with a password.

    Attributes:
        password_hash: what `hash_password` returns.
        role: what the user may do.
    """

    password_hash: str = field(repr=False, validator=_check_hash)
    role: Role = Role.READ_ONLY

    def has_password(self, password: str) -> bool:
        """Whether this is the user's password. It takes 50 ms."""
        _, salt, expected = self.password_hash.split("$")
        return hmac.compare_digest(_scrypt(password, _bytes(salt)), _bytes(expected))


_limiter: RunVar[CapacityLimiter] = RunVar("drivetrain_dashboard_passwords")


class PasswordChecker:
    """Checks the credentials of HTTP Basic. Thread-safe.

    Args:
        users: the users by name.
    """

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = dict(users)
        #: What an unknown user has, so that the time of the answer does not tell which users exist.
        self._nobody = User(password_hash=hash_password(secrets.token_urlsafe(32)))
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._right: OrderedDict[bytes, str] = OrderedDict()

    async def check(self, header: str) -> tuple[str, Role] | None:
        """The name and the role of the user whose credentials are in this ``Authorization``; None: they are wrong."""
        mark = hmac.digest(self._key, header.encode("utf-8", "surrogateescape"), "sha256")
        with self._lock:
            name = self._right.get(mark)
        if name is not None:
            return name, self._users[name].role
        given = _credentials(header)
        if given is None:
            return None
        name, password = given
        user = self._users.get(name, self._nobody)
        right = await to_thread.run_sync(user.has_password, password, limiter=_passwords_limiter())
        if not right or user is self._nobody:
            return None
        with self._lock:
            self._right[mark] = name
            while len(self._right) > _MOST_REMEMBERED:
                self._right.popitem(last=False)
        return name, user.role


def _passwords_limiter() -> CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_AT_ONCE)
        _limiter.set(limiter)
        return limiter


def _credentials(header: str) -> tuple[str, str] | None:
    """The name and the password in an ``Authorization``; None: it has none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """The bytes of `_text`; empty: it is wrong."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
