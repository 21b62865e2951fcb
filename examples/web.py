"""FastAPI: a request sends a task and answers at once; another asks for its result. Nothing blocks the event loop.

In earnest: ``uvicorn web:web`` and ``drivetrain worker web:app``. Here the test client of FastAPI and a worker in a
thread play both parts. Run it with the packages fastapi and httpx installed.
"""

import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from drivetrain import App, ResultTimeout, TaskFailed, UnknownResult

app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'work.db')}")
web = FastAPI()


@app.task
def count_letters(text: str) -> dict[str, int]:
    if not text:
        raise ValueError("there is no text")
    return {letter: text.count(letter) for letter in sorted(set(text))}


@web.post("/counts", status_code=202)
async def send(text: str) -> dict[str, str]:
    result = await count_letters.send_async(text)
    return {"id": result.id}


@web.get("/counts/{task_id}")
async def result(task_id: str, wait: float = 0.0) -> dict[str, Any]:
    handle = count_letters.result(task_id)
    try:
        return {"state": "SUCCESS", "counts": await handle.get_async(timeout=wait)}
    except ResultTimeout:
        return {"state": "PENDING"}
    except TaskFailed as error:
        return {"state": "FAILURE", "error": error.failure.message}
    except UnknownResult as error:
        raise HTTPException(404, str(error)) from None


def main() -> None:
    with TestClient(web) as client:
        sent = [client.post("/counts", params={"text": text}).json()["id"] for text in ("abba", "")]
        print("before a worker runs:", client.get(f"/counts/{sent[0]}").json())
        with app.worker():
            for task_id in sent:
                print("then:", client.get(f"/counts/{task_id}", params={"wait": 30}).json())


if __name__ == "__main__":
    main()
