"""Messages for tests of brokers: the fields that a test does not name do not matter to it."""

from drivetrain.contract import Message


def message(name="m", queue="q", **fields):
    """A message with this id."""
    return Message(**{"id": name, "queue": queue, "body": b"body", **fields})
