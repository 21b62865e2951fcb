import pytest
from shop import app, open_mailer

pytest_plugins = ["drivetrain.pytest"]


class Outbox:
    """In place of a server for mail."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str]] = []
        self.is_away = False

    def sendmail(self, _sender: str, to: list[str], text: str) -> None:
        if self.is_away:
            raise ConnectionRefusedError
        self.mails += [(one, text) for one in to]


@pytest.fixture
def outbox():
    outbox = Outbox()
    with app.override(open_mailer, lambda: outbox):
        yield outbox
