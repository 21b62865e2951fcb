"""Fake distributions with real metadata, so that discovery is tested on what it reads."""

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

_numbers = itertools.count()


class Site:
    """A directory on ``sys.path`` that packages are installed into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def install(self, name: str, entries: str, code: str = "", *, version: str = "1.0", metadata: bool = True) -> str:
        """Install a distribution with one module; ``MODULE`` in ``entries`` stands for its name, which is returned."""
        module = f"fake_{name.replace('-', '_').replace('.', '_').lower()}_{next(_numbers)}"
        (self.path / f"{module}.py").write_text(code, encoding="utf-8")
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(entries.replace("MODULE", module), encoding="utf-8")
        if metadata:
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
            )
        return module


@pytest.fixture
def site(tmp_path, monkeypatch):
    made = Site(tmp_path / "site")
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(made.path))
    yield made
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]


BROKER = """
from drivetrain.contract import hookimpl, Broker, BrokerCapabilities, Durability

class FakeBroker:
    capabilities = BrokerCapabilities(durability=Durability.NONE)
    closed = False
    def close(self):
        self.closed = True

for name in dir(Broker):
    if not name.startswith("_") and not hasattr(FakeBroker, name):
        setattr(FakeBroker, name, lambda *_args, **_kwargs: None)

made = []

@hookimpl
def make_broker(url, context):
    made.append(FakeBroker())
    made[-1].url, made[-1].context = url, context
    return made[-1]
"""

SERIALIZER = """
from types import SimpleNamespace
from drivetrain.contract import hookimpl

@hookimpl
def make_serializer(name):
    return SimpleNamespace(content_type=f"application/x-{name}", dumps=repr, loads=eval)
"""


@pytest.fixture
def code():
    return SimpleNamespace(broker=BROKER, serializer=SERIALIZER)
