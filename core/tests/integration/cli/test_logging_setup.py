"""What lines of a worker's log look like, beyond what `test_worker` sees of them."""

import io
import json
import logging
import sys

import pytest

from drivetrain.cli.logging_setup import FORMATS, TaskFilter, set_up_logging


@pytest.fixture
def root(monkeypatch):
    """The root logger without handlers, put back afterwards."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])
    yield root
    root.setLevel(level)
    logging.captureWarnings(False)


def logged(log_format, **record):
    made = logging.makeLogRecord({"name": "shop", "levelname": "INFO", "created": 1.25, "msg": "hello", **record})
    TaskFilter().filter(made)
    return FORMATS[log_format]().format(made)


def test_text():
    assert logged("text") == "1970-01-01T00:00:01.250Z INFO shop [-] hello"


def test_a_line_about_a_task_names_it():
    assert logged("text", task="add", task_id="1") == "1970-01-01T00:00:01.250Z INFO shop [add 1] hello"
    assert logged("text", task_id="1") == "1970-01-01T00:00:01.250Z INFO shop [1] hello"


def test_json():
    line = json.loads(logged("json", msg="hello %s", args=("you",), place={"a": object}))
    assert line == {
        "time": "1970-01-01T00:00:01.250Z",
        "level": "INFO",
        "logger": "shop",
        "task_id": "-",
        "task": "-",
        "message": "hello you",
        "place": {"a": "<class 'object'>"},
    }


def test_json_keeps_exceptions_in_one_line():
    try:
        raise ValueError("a\nb")
    except ValueError:
        text = logged("json", exc_info=sys.exc_info())
    assert "\n" not in text
    assert json.loads(text)["exception"].endswith("ValueError: a\nb")


def test_handlers_of_the_app_stay_unless_they_write_to_the_terminal(root, monkeypatch):
    theirs, kept = logging.StreamHandler(sys.stderr), logging.StreamHandler(io.StringIO())
    root.handlers = [theirs, kept]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    theirs.setStream(sys.stderr)
    set_up_logging("warning", "text")
    logging.getLogger("shop").warning("once")
    logging.getLogger("shop").info("never")
    assert sys.stderr.getvalue().count("once") == 1
    assert "never" not in sys.stderr.getvalue()
    assert kept.stream.getvalue() == "once\n"


@pytest.mark.parametrize("log_format", list(FORMATS))
def test_an_exception_of_any_length_is_cut(log_format):
    try:
        raise ValueError("x" * 15_728_640)
    except ValueError:
        text = logged(log_format, exc_info=sys.exc_info())
    assert len(text) < 10_000
    assert "test_an_exception_of_any_length_is_cut" in text
    assert "characters)" in text
