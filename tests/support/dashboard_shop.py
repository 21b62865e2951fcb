"""A shop for the tests of the dashboard: tasks in every state, with names and failures that a test chooses."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

from drivetrain import App, Concurrency, Rate, chain, chord, cron, every, group
from support.waiting import until


class Shop:
    """An app whose tasks are in every state.

    Args:
        odd: a text that is shown in many places.
    """

    def __init__(self, odd):
        self.odd_text = odd
        self.app = app = App("memory://", name="shop", counts_retention_seconds=86_400)
        self.go = threading.Event()

        @app.task(name="shop.stock.reserve")
        def reserve(number: int) -> int:
            return number

        @app.task(name="shop.orders.collect")
        def collect(numbers: list[int]) -> int:
            return sum(numbers)

        @app.task(name="shop.mails.send_invoice", queue="failing", dead_letter=True)
        def send_invoice(to: str) -> None:
            raise ValueError(f"no address: {to}")

        @app.task(name=odd, queue="failing", dead_letter=True)
        def hostile(text: str) -> None:
            raise ValueError(odd)

        @app.task(name="shop.images.resize", limits=[Concurrency("images", 1), Rate("disk", 100, per=1)])
        def resize(number: int) -> None:
            self.go.wait(600)

        self.reserve, self.collect, self.send_invoice = reserve, collect, send_invoice
        self.hostile, self.resize = hostile, resize
        app.schedule("nightly", reserve.si(1), cron("0 3 * * *"))

    def fill(self):
        """Send tasks, and let them come into their states."""
        app = self.app
        self.failed = [self.send_invoice.send(f"customer {number}").id for number in range(3)]
        self.odd = self.hostile.send(self.odd_text).id
        for _ in range(2):
            app.worker(queues=("failing",)).drain()
        for number in range(20):
            self.reserve.si(number).set(queue="mails").send()
        self.reserve.si(5).set(queue="mails", delay=timedelta(days=1)).send()
        app.operations.pause("mails", why=self.odd_text, by="ada")
        invoices = group(
            chain(self.reserve.si(number), self.send_invoice.si("nobody") if number == 3 else self.reserve.si(number))
            for number in range(4)
        )
        self.workflow = app.send(chain(self.reserve.si(1), chord(invoices, self.collect.s()))).id
        self.large = app.send(chord([self.reserve.si(number) for number in range(60)], self.collect.s())).id
        app.worker(queues=("default", "failing")).drain()
        self.running = [self.resize.send(number).id for number in range(3)]
        app.schedules.put(self.odd_text[:100].removesuffix("\u202e"), self.reserve.si(1), every(seconds=3600))

    def send(self, task, *args, **options):
        """Send a task; its id. In another thread, since Playwright runs an event loop in this one."""
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(lambda: task.si(*args).set(**options).send().id).result()

    def delayed(self):
        """Send a task that is due tomorrow; its id."""
        return self.send(self.reserve, 1, delay=timedelta(days=1))


@contextmanager
def running_shop(odd):
    """A shop that is filled, with a worker that runs."""
    shop = Shop(odd)
    shop.fill()
    with shop.app.worker(queues=("default",), name="worker-1@shop"):
        until(lambda: [one for one in shop.app.operations.workers() if one.running], "a worker reports what it runs")
        yield shop
        shop.go.set()
