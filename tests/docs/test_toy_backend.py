"""A third party's backend: built as a wheel, found by its URL, certified, and at work beside the toy broker.

The same for the broker, in an environment of its own with nothing but wheels: contract-tests/tests/test_toy_driver.py.
"""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "examples" / "toy_backend"
STORY = """
from drivetrain import App, chord
app = App("toy://{directory}/broker", "files://{directory}/backend")
@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y
@app.task(name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)
with app.worker():
    print(app.send(chord([add.s(n, n) for n in range(5)], total.s())).get(timeout=60))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Where the wheels of both toys are unpacked, as an installer would; the rest is this environment's."""
    out = tmp_path_factory.mktemp("toys")
    for project in (TOY, ROOT / "examples" / "toy_driver"):
        run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, project)
    for wheel in out.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(out / "site")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "DRIVETRAIN_"))}
    return {**kept, "PYTHONPATH": str(out / "site")}


def run(*command, **options):
    told = [str(part) for part in command]
    done = subprocess.run(told, capture_output=True, text=True, check=False, timeout=280, **options)
    assert done.returncode == 0, f"{told}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_is_certified_by_its_own_test_file(environment, tmp_path):
    (tmp_path / "test_contract.py").write_text((TOY / "tests" / "test_contract.py").read_text())
    report = tmp_path / "contract-report.json"
    asked = ("--contract-profile=quick", f"--contract-report={report}", "-p", "no:cacheprovider")
    run(sys.executable, "-m", "pytest", *asked, cwd=tmp_path, env=environment)
    for contract in json.loads(report.read_text())["contracts"]:
        assert contract["summary"]["fail"] == 0
        assert contract["summary"]["pass"] >= 5
        assert contract["drivers"][0]["distribution"] == "drivetrain-toy-backend"
        assert contract["warnings"] == [], "it declares all that it can do"


def test_it_works_beside_the_toy_broker(environment, tmp_path):
    story = tmp_path / "story.py"
    story.write_text(STORY.format(directory=tmp_path))
    assert run(sys.executable, story, cwd=tmp_path, env=environment) == "20\n"


def test_it_imports_the_contract_only_and_is_no_part_of_the_workspace():
    source = (TOY / "src" / "drivetrain_toy_backend" / "__init__.py").read_text()
    ours = {
        line.split()[1] for line in source.splitlines() if line.startswith(("from drivetrain", "import drivetrain"))
    }
    assert ours == {"drivetrain.contract"}
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
    assert not any("examples" in member for member in workspace["members"])
