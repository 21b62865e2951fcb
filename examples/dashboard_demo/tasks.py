"""The tasks of a shop: most succeed, some fail, some are retried, some go to the dead letters."""

import random
import time

from drivetrain import App, Concurrency, current_task, every, retry

app = App("sqlite:///drivetrain.db", name="shop", counts_retention_seconds=2 * 86400)


@app.task(queue="orders")
def check_stock(order: int) -> int:
    time.sleep(random.uniform(0.01, 0.1))
    return order


@app.task(queue="orders", retry=retry.fixed(2, max_retries=2))
def charge_card(order: int) -> int:
    time.sleep(random.uniform(0.05, 0.3))
    if order % 17 == 0:
        raise ConnectionError(f"the bank does not answer for order {order}")
    return order


@app.task(queue="orders")
def reserve(article: int) -> int:
    time.sleep(random.uniform(0.02, 0.1))
    return article


@app.task(queue="orders")
def pack(articles: list[int]) -> str:
    time.sleep(0.1)
    return f"parcel with {len(articles)} articles"


@app.task(queue="mails", dead_letter=True, limits=[Concurrency("mail server", 2)])
def send_mail(order: int) -> None:
    time.sleep(random.uniform(0.1, 0.4))
    if order % 23 == 0:
        raise ValueError(f"order {order} has no address <script>alert('escaped?')</script>")


@app.task(queue="reports")
def report(day: str) -> str:
    """Nobody serves its queue: the dashboard says so."""
    return day


@app.task(queue="orders")
def import_catalogue(articles: int = 200) -> int:
    """A long task with progress."""
    for number in range(articles):
        time.sleep(0.1)
        current_task().progress(number + 1, articles, "importing")
    return articles


@app.task(queue="orders")
def clean_up() -> None:
    time.sleep(0.05)


app.schedule("clean-up", clean_up.si(), every(seconds=20))
app.schedule("nightly-report", report.si("yesterday"), every(hours=24))
