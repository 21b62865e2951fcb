"""A shop: an order is charged, and the customer is reminded after a month."""

import smtplib
from collections.abc import Iterator
from datetime import timedelta

from drivetrain import App, chain, provided, retry

app = App("sqlite:///shop.db")


def open_mailer() -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("mail.example.com") as mailer:
        yield mailer


@app.task
def charge(customer: str, cents: int) -> str:
    return f"{customer} has paid {cents / 100:.2f}"


@app.task(queue="mails", retry=retry.fixed(60, max_retries=3, retry_on=OSError))
def send_mail(text: str, customer: str, mailer: smtplib.SMTP = provided(open_mailer)) -> None:
    mailer.sendmail("shop@example.com", [customer], text)


@app.task
def remind(customer: str) -> None:
    send_mail.send("come back", customer)


def order(customer: str, cents: int) -> None:
    app.send(chain(charge.s(customer, cents), send_mail.s(customer=customer)))
    app.send(remind.s(customer).set(delay=timedelta(days=30)))
