"""FastAPI: a request sends a task and answers at once; others ask for its result, or follow its progress.

In earnest: ``uvicorn web:web`` and ``drivetrain worker web:app``. Here the test client of FastAPI and a worker in a
thread play both parts. Run it with the packages fastapi and httpx installed.
"""

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

from drivetrain import App, Result, ResultTimeout, TaskFailed, UnknownResult, current_task, provided
from drivetrain.asgi import lifespan, progress_events

HOME = Path(tempfile.mkdtemp())
app = App(f"sqlite:///{HOME / 'work.db'}")


class Text(BaseModel):
    title: str = Field(max_length=20)
    words: list[str]


def open_database() -> Iterator[sqlite3.Connection]:
    """A provider of tasks, and a dependency of requests."""
    connection = sqlite3.connect(HOME / "texts.db")
    try:
        with connection:  # commits; after an error it rolls back
            yield connection
    finally:
        connection.close()


@app.task
def save(text: Text, database: sqlite3.Connection = provided(open_database)) -> dict[str, int]:
    if not text.words:
        raise ValueError("there are no words")
    for number, word in enumerate(text.words, start=1):
        database.execute("insert into words values (?, ?)", (text.title, word))
        current_task().progress(number, len(text.words))
    return {word: text.words.count(word) for word in text.words}


@asynccontextmanager
async def life(web: FastAPI) -> AsyncIterator[None]:
    with sqlite3.connect(HOME / "texts.db") as database:
        database.execute("create table words (title text, word text)")
    async with lifespan(app)(web):
        yield


web = FastAPI(lifespan=life)


@web.post("/texts", status_code=202)
async def send(text: Text) -> dict[str, str]:
    result = await save.send_async(text)
    return {"id": result.id}


async def known(task_id: str) -> Result[dict[str, int]]:
    handle = save.result(task_id)
    try:
        await handle.state_async()
    except UnknownResult as error:
        raise HTTPException(404, str(error)) from None
    return handle


Known = Annotated[Result[dict[str, int]], Depends(known)]


@web.get("/texts/{task_id}")
async def result(handle: Known, wait: float = 0.0) -> dict[str, Any]:
    try:
        return {"state": "SUCCESS", "counts": await handle.get_async(timeout=wait)}
    except ResultTimeout:
        return {"state": "PENDING"}
    except TaskFailed as error:
        return {"state": "FAILURE", "error": error.failure.message}


@web.get("/texts/{task_id}/progress")
async def progress(handle: Known) -> StreamingResponse:
    return StreamingResponse(progress_events(handle), media_type="text/event-stream")


@web.get("/words")
def count_words(database: Annotated[sqlite3.Connection, Depends(open_database)]) -> int:
    count: int = database.execute("select count(*) from words").fetchone()[0]
    return count


def main() -> None:
    with TestClient(web) as client:
        texts = [{"title": "Boots", "words": ["boots", "and", "boots"]}, {"title": "Nothing", "words": []}]
        first, second = (client.post("/texts", json=text).json()["id"] for text in texts)
        print("before a worker runs:", client.get(f"/texts/{first}").json())
        with app.worker():
            for task_id in (first, second):
                print("then:", client.get(f"/texts/{task_id}", params={"wait": 30}).json())
        print("followed to the end:", client.get(f"/texts/{first}/progress").text.splitlines()[-2])
        print("words of texts that succeeded:", client.get("/words").json())
        print("no such task:", client.get("/texts/unknown").status_code)
        print("no such text:", client.post("/texts", json={"title": "x" * 21, "words": []}).status_code)


if __name__ == "__main__":
    main()
