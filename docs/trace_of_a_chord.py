# ruff: noqa: INP001 - a script
"""Draws docs/charts/trace.svg: a chord as a trace, from the spans that the plugin makes. Run it with Python."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import escape

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from drivetrain import App, chord, current_task, retry
from drivetrain_opentelemetry import OpenTelemetry
from drivetrain_opentelemetry.options import Options

PICTURE = Path(__file__).with_name("charts") / "trace.svg"
ROW, LEFT, WIDTH = 24, 330, 900
FONT = 'font-family="sans-serif" font-size="12"'
COLOURS = {"PRODUCER": "#7b9acc", "CONSUMER": "#5aa469", "CLIENT": "#b8b8b8", "INTERNAL": "#d8a657"}


def chord_spans() -> list[Any]:
    """The spans of a chord of three members, one of which is retried; in the order in which a viewer shows them."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/work.db"
        plugin = OpenTelemetry(url, Options(process_parent=True), tracer_provider=provider)
        with App(url, plugins=[plugin], concurrency=4) as app:

            @app.task(name="price", queue="prices", retry=retry.fixed(0.03, max_retries=1))
            def price(book: int) -> int:
                time.sleep(0.02 + book / 100)
                if book == 2 and current_task().attempt == 0:
                    raise ConnectionError("the shop does not answer")
                return book

            @app.task(name="total", queue="prices")
            def total(prices: list[int]) -> int:
                time.sleep(0.02)
                return sum(prices)

            with app.worker(queues=["prices"]):
                app.send(chord([price.s(0)], total.s())).get(timeout=30)
                exporter.clear()
                with provider.get_tracer("shop").start_as_current_span("POST /order"):
                    handle = app.send(chord([price.s(book) for book in range(3)], total.s()))
                handle.get(timeout=30)
    spans = exporter.get_finished_spans()
    [root] = [span for span in spans if span.name == "POST /order"]
    return _tree(root, [span for span in spans if span.context.trace_id == root.context.trace_id])


def _tree(root: Any, spans: list[Any], depth: int = 0) -> list[Any]:
    children = [span for span in spans if span.parent is not None and span.parent.span_id == root.context.span_id]
    rows = [(root, depth)]
    for child in sorted(children, key=lambda span: span.start_time):
        rows += _tree(child, spans, depth + 1)
    return rows


def drawn(rows: list[Any]) -> str:
    """The rows as a picture."""
    begin = min(span.start_time for span, _ in rows)
    scale = (WIDTH - LEFT - 90) / (max(span.end_time for span, _ in rows) - begin)
    height = ROW * len(rows) + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" {FONT}>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for number, (span, depth) in enumerate(rows):
        top = 8 + number * ROW
        start, long = LEFT + (span.start_time - begin) * scale, max(2.0, (span.end_time - span.start_time) * scale)
        failed = span.status.status_code.name == "ERROR"
        colour = "#c94f4f" if failed else COLOURS[span.kind.name]
        lines += [
            f'<text x="{8 + 18 * depth}" y="{top + 15}" fill="#222222">{escape(_title(span))}</text>',
            f'<rect x="{start:.1f}" y="{top + 4}" width="{long:.1f}" height="{ROW - 8}" rx="2" fill="{colour}"/>',
            f'<text x="{start + long + 6:.1f}" y="{top + 15}" fill="#666666">{_length(span)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _title(span: Any) -> str:
    task, attempt = (span.attributes.get(f"drivetrain.task.{name}") for name in ("name", "attempt"))
    return span.name if task is None else f"{span.name}: {task}" + (f", attempt {attempt}" if attempt else "")


def _length(span: Any) -> str:
    return f"{(span.end_time - span.start_time) / 1e6:.1f} ms"


if __name__ == "__main__":
    PICTURE.write_text(drawn(chord_spans()), encoding="utf-8")
