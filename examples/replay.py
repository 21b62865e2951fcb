"""A dead letter: a task that has finally failed is put aside, looked at, and replayed once its cause is mended.

On the command line: drivetrain dead list orders, and drivetrain dead replay orders.
"""

import tempfile
from pathlib import Path

from drivetrain import App, TaskFailed

app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'work.db')}", queues=("orders",))
prices = {"wheel": 90}


@app.task(queue="orders")
def price(part: str, number: int) -> int:
    return prices[part] * number


@app.task(queue="orders")
def invoice(amount: int) -> str:
    return f"please pay {amount}"


def main() -> None:
    with app.worker():
        order = app.send(price.s("chain", 2).set(dead_letter=True) | invoice.s())
        try:
            order.get(timeout=30)
        except TaskFailed as error:
            print("failed:", error.failure.type, error.failure.message)
    for letter in app.operations.dead_letters("orders"):
        print("put aside:", letter.task, *letter.args)

    prices["chain"] = 25
    print("replayed:", app.operations.replay("orders"))
    with app.worker():
        print(order.get(timeout=30))  # what waited for it waits again
    print("left:", len(app.operations.dead_letters("orders")))


if __name__ == "__main__":
    main()
