"""Third parties' drivers: a broker and two backends, outside the workspace, written from the page for driver authors.

They are built as wheels, and certified by the wheels of core and of the contract tests in an environment that holds
nothing else. An app finds them there by their URLs.
"""

import json
import os
import tomllib
from pathlib import Path

import pytest
from attrs import frozen

from installing.environments import made_environment

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "write-a-driver.md"


@frozen
class Toy:
    """An example, and what its report says of it."""

    directory: str
    distribution: str
    kind: str
    name: str
    implementation: str

    @property
    def place(self):
        return ROOT / "examples" / self.directory

    @property
    def module(self):
        return f"src/{self.implementation.partition('.')[0]}/__init__.py"


BROKER = Toy("toy_driver", "drivetrain-toy", "broker", "toy", "drivetrain_toy.ToyBroker")
BACKEND = Toy("toy_backend", "drivetrain-toy-backend", "backend", "files", "drivetrain_toy_backend.ToyBackend")
SQL = Toy("toy_sql", "drivetrain-toy-sql", "backend", "toysql", "drivetrain_toy_sql.SqlBackend")
EACH = (BROKER, BACKEND, SQL)
TOYS = [pytest.param(toy, id=toy.name) for toy in EACH]

VERDICTS = ("pass", "fail", "not declared", "not run")

#: An app on both; a driver is not imported before it is asked for.
STORY = """
import sys
from drivetrain import App, chord
assert not [name for name in sys.modules if name.startswith("drivetrain_toy")]
app = App("toy://{directory}/broker", "{backend}")
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
def environment(wheels, tmp_path_factory):
    """What installing the toys with their extra ``test`` brings, and nothing else."""
    place = tmp_path_factory.mktemp("toys") / "venv"
    return made_environment(place, wheels, [f"{toy.distribution}[test]" for toy in EACH])


@pytest.mark.skipif("DRIVETRAIN_TEST_OFFLINE" in os.environ, reason="DRIVETRAIN_TEST_OFFLINE is set")
@pytest.mark.timeout(600)  # the first one makes all wheels
class TestInAnEnvironmentOfWheels:
    @pytest.mark.slow
    @pytest.mark.parametrize("toy", TOYS)
    def test_it_is_certified_by_its_own_test_file(self, toy, environment, tmp_path, request):
        if toy is not SQL and request.config.getoption("--contract-profile") == "quick":
            pytest.skip("takes minutes: run by make test CONTRACT=default")
        (tmp_path / "test_contract.py").write_text((toy.place / "tests" / "test_contract.py").read_text())
        report = tmp_path / "contract-report.json"
        asked = ("--contract-profile=quick", f"--contract-report={report}", "-p", "no:cacheprovider")
        environment.run("-m", "pytest", *asked, directory=tmp_path)
        contracts = json.loads(report.read_text())["contracts"]
        for contract in contracts:
            [driver] = contract["drivers"]
            assert (driver["kind"], driver["name"], driver["distribution"]) == (toy.kind, toy.name, toy.distribution)
            assert driver["class"] == toy.implementation
            assert contract["summary"]["fail"] == 0
            assert contract["warnings"] == [], "it declares all that it can do"
        assert sum(contract["summary"]["pass"] for contract in contracts) >= 30
        if toy is BROKER:
            counts = ", ".join(
                f"{number} {verdict}" for verdict in VERDICTS if (number := contracts[0]["summary"][verdict])
            )
            assert PAGE.read_text("utf-8").count(counts) == 2, "the page shows another report"

    @pytest.mark.parametrize("backend", ["files://{0}/backend", "toysql://{0}/records.db"])
    def test_an_app_finds_them_by_their_urls(self, backend, environment, tmp_path):
        (tmp_path / "story.py").write_text(STORY.format(directory=tmp_path, backend=backend.format(tmp_path)))
        assert environment.run("story.py", directory=tmp_path).stdout == "20\n"
        told = environment.run("-m", "drivetrain.cli", "drivers", "--json", directory=tmp_path).stdout
        listed = json.loads(told)["drivers"]
        assert all(one["importable"] for one in listed)
        found = {
            (one["kind"], one["name"], one["distribution"]) for one in listed if one["distribution"] != "drivetrain"
        }
        assert found == {(toy.kind, toy.name, toy.distribution) for toy in EACH}


def test_the_code_of_the_page_is_that_of_the_examples():
    page = PAGE.read_text(encoding="utf-8")
    for toy, name, language in (
        (BROKER, "pyproject.toml", "toml"),
        (BROKER, BROKER.module, "python"),
        (BROKER, "tests/test_contract.py", "python"),
        (SQL, SQL.module, "python"),
    ):
        source = (toy.place / name).read_text(encoding="utf-8")
        assert f"```{language}\n{source}```" in page, f"the page does not show {name} as it is"


@pytest.mark.parametrize("toy", TOYS)
def test_its_author_writes_less_than_thirty_lines_of_tests(toy):
    assert len((toy.place / "tests" / "test_contract.py").read_text().splitlines()) < 30


@pytest.mark.parametrize("toy", TOYS)
def test_it_imports_the_contract_only(toy):
    lines = (toy.place / toy.module).read_text().splitlines()
    ours = {line.split()[1] for line in lines if line.startswith(("from drivetrain", "import drivetrain"))}
    assert ours == {"drivetrain.contract"}


def test_they_are_not_part_of_the_workspace():
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
    assert not any("examples" in member for member in workspace["members"])
