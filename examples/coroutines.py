"""``async def`` tasks, sent and awaited from ``async`` code."""

import asyncio
import tempfile
from pathlib import Path

from drivetrain import App, group

app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'work.db')}")


@app.task
async def double(number: int) -> int:
    await asyncio.sleep(0)  # in real code, a request to a server
    return 2 * number


async def send() -> None:
    result = await double.send_async(21)
    print("one:", await result)
    results = await app.send_async(group(double.s(number) for number in range(5)))
    print("five:", await results)


def main() -> None:
    with app.worker():
        asyncio.run(send())


if __name__ == "__main__":
    main()
