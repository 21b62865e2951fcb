"""A crawler: `async def` tasks on the worker's event loop, a hundred at a time if need be, round by round.

It crawls a little site that it serves itself. Run it with the package httpx installed.
"""

import re
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from drivetrain import App, Failure, group, retry

app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'crawl.db')}")

SITE = {
    "/": '<a href="/wheels">wheels</a> <a href="/chains">chains</a>',
    "/wheels": '<a href="/">home</a> <a href="/spokes">spokes</a>',
    "/chains": '<a href="/links">links</a> <a href="/rust">rust</a>',
    "/links": '<a href="/chains">chains</a>',
    "/spokes": "round",
}


@app.task(retry=retry.exponential(base=0.1, max_retries=3, retry_on=httpx.TransportError), timeout=30)
async def links(page: str) -> list[str]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(page)
        answer.raise_for_status()
    return [str(answer.url.join(link)) for link in re.findall(r'href="([^"]+)"', answer.text)]


def crawl(start: str) -> tuple[set[str], set[str]]:
    """All pages that can be reached from ``start``, and those that cannot be read."""
    seen, broken, new = {start}, set(), [start]
    while new:
        found = app.send(group(links.s(page) for page in new).set(on_member_failure="collect")).get(timeout=60)
        broken |= {page for page, told in zip(new, found, strict=True) if isinstance(told, Failure)}
        linked = {link for told in found if not isinstance(told, Failure) for link in told}
        new = sorted(linked - seen)
        seen |= linked
    return seen - broken, broken


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = SITE.get(self.path)
        self.send_response(200 if text else 404)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base names it
        """Say nothing."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}"
    with app.worker():
        pages, broken = crawl(f"{home}/")
    server.shutdown()
    server.server_close()
    for page in sorted(pages):
        print("read:", page.removeprefix(home))
    for page in sorted(broken):
        print("broken:", page.removeprefix(home))


if __name__ == "__main__":
    main()
