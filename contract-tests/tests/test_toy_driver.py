"""The toy driver of the driver author's page: built, installed into an empty environment, and certified there.

It is a distribution of its own outside the workspace, written only from the page, whose code is the toy's.
"""

import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "examples" / "toy_driver"
PAGE = ROOT / "docs" / "write-a-driver.md"

#: pip install needs a package index; a machine that has none sets this, and loses nothing but these tests.
needs_index = pytest.mark.skipif("DRIVETRAIN_TEST_OFFLINE" in os.environ, reason="DRIVETRAIN_TEST_OFFLINE is set")


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=240, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def environment():
    """The environment without what would let another installation of drivetrain shine through."""
    hidden = ("PYTHON", "PYTEST", "DRIVETRAIN_", "VIRTUAL_ENV")
    return {name: text for name, text in os.environ.items() if not name.startswith(hidden)}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    for project in (ROOT / "core", ROOT / "contract-tests", TOY):
        run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, project)
    return sorted(out.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheels, tmp_path_factory, environment):
    """The programs of an empty environment that the wheels were installed into."""
    place = tmp_path_factory.mktemp("toy") / "venv"
    venv.create(place, with_pip=True)
    found = place / ("Scripts" if os.name == "nt" else "bin")
    run(found / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wheels, env=environment)
    return found


@needs_index
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_toy_is_certified_by_its_own_test_file(programs, tmp_path, environment):
    (tmp_path / "test_contract.py").write_text((TOY / "tests" / "test_contract.py").read_text())
    report = tmp_path / "contract-report.json"
    asked = ("--contract-profile=quick", f"--contract-report={report}", "-p", "no:cacheprovider")
    run(programs / "python", "-m", "pytest", *asked, cwd=tmp_path, env=environment)
    [toy] = json.loads(report.read_text())["contracts"]
    [driver] = toy["drivers"]
    assert (driver["kind"], driver["name"], driver["distribution"]) == ("broker", "toy", "drivetrain-toy")
    assert driver["class"] == "drivetrain_toy.ToyBroker"
    assert toy["summary"]["fail"] == 0
    assert toy["summary"]["pass"] >= 30
    assert toy["warnings"] == [], "it declares all that it can do"


@needs_index
def test_an_app_finds_it_by_its_url(programs, tmp_path, environment):
    listed = json.loads(run(programs / "drivetrain", "drivers", "--json", cwd=tmp_path, env=environment))["drivers"]
    [toy] = [one for one in listed if one["name"] == "toy"]
    assert toy["importable"]
    assert toy["capabilities"]["durability"] == "process"
    modules = "import drivetrain, sys; print('drivetrain_toy' in sys.modules)"
    assert run(programs / "python", "-c", modules, cwd=tmp_path, env=environment) == "False\n"


def test_the_code_of_the_page_is_the_toy_s():
    page = PAGE.read_text(encoding="utf-8")
    for name, language in (
        ("pyproject.toml", "toml"),
        ("src/drivetrain_toy/__init__.py", "python"),
        ("tests/test_contract.py", "python"),
    ):
        source = (TOY / name).read_text(encoding="utf-8")
        assert f"```{language}\n{source}```" in page, f"the page does not show {name} as it is"


def test_the_author_writes_less_than_thirty_lines():
    assert len((TOY / "tests" / "test_contract.py").read_text().splitlines()) < 30


def test_the_toy_imports_the_contract_only():
    source = (TOY / "src" / "drivetrain_toy" / "__init__.py").read_text()
    ours = {
        line.split()[1] for line in source.splitlines() if line.startswith(("from drivetrain", "import drivetrain"))
    }
    assert ours == {"drivetrain.contract"}


def test_the_toy_is_no_part_of_the_workspace():
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
    assert not any("examples" in member for member in workspace["members"])
