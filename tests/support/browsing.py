"""A real browser for tests of pages: Debian's ``chromium``, driven by Playwright, and a server in this process."""

import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

#: Names of the program, in the order of preference.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
#: The directory into which `picture` writes. Without it no picture is taken.
PICTURES = "DASHBOARD_PICTURES"
#: How long a browser may take for one step, in milliseconds. A busy machine takes long.
STEP_MILLISECONDS = 60_000


@contextmanager
def browser():
    """A browser. The test is skipped, by name, where there is no chromium or Playwright."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no chromium here, so no page is tested in a browser; Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as driver:
        # Everything that runs here is ours, and a container often lacks what chromium's sandbox needs.
        running = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield running
        finally:
            running.close()


@contextmanager
def served(application):
    """Serve an ASGI application on a free port of this machine; its address."""
    config = uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)
        listening.close()


def picture(page, name, *, whole_page=False):
    """Write ``<name>.png`` into the directory of pictures, if there is one."""
    if directory := os.environ.get(PICTURES):
        Path(directory).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=whole_page)
