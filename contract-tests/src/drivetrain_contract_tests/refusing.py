"""Makers are given URLs that can never work."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from drivetrain.contract import Backend, Broker, ConfigurationError, DriverBroken, DriverUrl, redact
from drivetrain_contract_tests.urls import PASSWORD, impossible

__all__ = ["assert_impossible_urls_are_refused"]


def assert_impossible_urls_are_refused(make: Callable[[str], Broker | Backend], url: str) -> None:
    """Assert that a maker refuses what can never work, with every fault and without secrets.

    Args:
        make: makes the driver of a URL.
        url: one that is right, by the driver's author.
    """
    secrets = {PASSWORD, DriverUrl.parse(url).password} - {None, ""}
    for what, wrong, words in impossible(url):
        error = _refusal(make, wrong)
        assert error is not None, f"a URL with {what} is accepted: {redact(wrong)}"
        right_kind = isinstance(error, ConfigurationError) and not isinstance(error, DriverBroken)
        assert right_kind, f"a URL with {what} raised {type(error).__name__}: {error}"
        said = str(error).replace(redact(wrong), "")  # which shows the names of options, right or wrong
        missing = [word for word in words if word not in said]
        assert not missing, f"the error of a URL with {what} does not name {', '.join(missing)}: {error}"
        shown = " ".join(map(str, _chain(error)))
        assert not [secret for secret in secrets if str(secret) in shown], f"the error of {what} shows a secret"


def _refusal(make: Callable[[str], Broker | Backend], url: str) -> Exception | None:
    try:
        made = make(url)
    except Exception as error:  # noqa: BLE001 - the caller looks at what it is
        return error
    made.close()
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, as a traceback shows them."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
