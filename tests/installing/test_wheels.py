"""The metadata of each wheel, for package indexes and for users."""

import email
import os
import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = [
    ROOT / "core",
    ROOT / "contract-tests",
    *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")),
]
PYTHONS = {"3.11", "3.12", "3.13", "3.14"}

pytestmark = [
    pytest.mark.skipif("DRIVETRAIN_TEST_OFFLINE" in os.environ, reason="DRIVETRAIN_TEST_OFFLINE is set"),
    pytest.mark.timeout(600),  # the first one makes all wheels
]


@pytest.fixture(params=MEMBERS, ids=lambda path: path.name)
def member(request):
    return request.param


@pytest.fixture
def project(member):
    return tomllib.loads((member / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture
def wheel(project, wheels):
    [path] = wheels.glob(f"{project['name'].replace('-', '_')}-{project['version']}-*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture
def told(wheel):
    [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(metadata))


def test_it_holds_its_package_whole_and_typed(wheel, member, project):
    package = project["name"].replace("-", "_")
    source = member / "src"
    there = {
        path.relative_to(source).as_posix()
        for path in (source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == there
    assert f"{package}/py.typed" in there


def test_it_names_license_and_python_versions(wheel, told):
    [license_] = [name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
    assert wheel.read(license_) == (ROOT / "LICENSE").read_bytes()
    assert told["License-Expression"] == "MIT"
    assert told["Requires-Python"] == ">=3.11"
    classifiers = told.get_all("Classifier")
    versions = {one.rpartition(" ")[2] for one in classifiers if one.startswith("Programming Language :: Python :: 3.")}
    assert versions == PYTHONS
    assert "Typing :: Typed" in classifiers


def test_its_page_on_an_index_is_its_readme(told, member):
    assert told["Description-Content-Type"] == "text/markdown"
    page = told.get_payload(decode=True).decode()
    assert (member / "README.md").read_text("utf-8").strip() in page
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert [link for link in links if "://" not in link and not link.startswith("#")] == [], "they lead nowhere there"
    assert told["Summary"].endswith(".")


def test_it_needs_what_it_says_from_a_lowest_version_on(told, project):
    required = [Requirement(line) for line in told.get_all("Requires-Dist") if "extra ==" not in line]
    assert {one.name.lower() for one in required} == {Requirement(one).name.lower() for one in project["dependencies"]}
    assert [str(one) for one in required if not {each.operator for each in one.specifier} & {">=", "=="}] == []
    [ours] = [one for one in required if one.name == "drivetrain"] or [None]
    assert project["name"] == "drivetrain" or str(ours.specifier) == f"=={project['version']}"
