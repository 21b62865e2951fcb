"""One version for all distributions, the Pythons of this machine, and what a release is refused for."""

import os
import sys
import tomllib
from pathlib import Path

import pytest

from releasing.pythons import MINORS, find
from releasing.release import changelog_faults, report_faults, version_faults
from releasing.version import members, version, with_version

PROJECT = '[project]\nname = "x"\nversion = "0.1.0"\ndependencies = ["attrs>=23.2", "drivetrain==0.1.0"]\n'
EACH = pytest.mark.parametrize("path", list(members()), ids=lambda path: path.parent.name)


@EACH
def test_every_member_has_the_version_of_the_file(path):
    project = tomllib.loads(path.read_text("utf-8"))["project"]
    assert list(version_faults({"it": project}, version())) == []


@EACH
def test_the_version_of_every_member_can_be_set(path):
    project = tomllib.loads(with_version(path.read_text("utf-8"), "9.8.7"))["project"]
    assert list(version_faults({"it": project}, "9.8.7")) == []


def test_members_of_another_version_are_named():
    project = tomllib.loads(PROJECT)["project"]
    assert len(list(version_faults({"it": project}, "0.2.0"))) == 2
    assert with_version(PROJECT, "0.2.0") == PROJECT.replace("0.1.0", "0.2.0")


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("# Changelog\n\n## 0.1.0 - 2027-01-02\n", 0),
        ("# Changelog\n\n## 0.1.0\n", 1),
        ("# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2027-01-02\n", 1),
        ("# Changelog\n\n## Unreleased\n", 2),
        ("# Changelog\n\n## 0-1-0 - 2027-01-02\n", 1),
    ],
)
def test_a_release_needs_its_section_in_the_changelog(text, faults):
    assert len(list(changelog_faults(text, "0.1.0"))) == faults


def test_a_release_needs_the_contract_reports_of_its_version():
    report = {"suite": {"version": "0.1.0"}, "contracts": [{"driver": {"version": "0.1.0"}}]}
    assert list(report_faults("core", report, "0.1.0")) == []
    assert len(list(report_faults("core", report, "0.2.0"))) == 2
    assert list(report_faults("core", None, "0.1.0")) == ["core has no contract report; run make certify"]


def test_the_python_that_runs_is_found_and_each_runs_its_own_version(tmp_path):
    found = find(os.environ)
    assert found[sys.version_info.minor] == Path(sys.executable)
    assert set(found) <= set(MINORS)


def test_what_does_not_run_is_not_taken_for_a_python(tmp_path):
    shim = tmp_path / "python3.14"
    shim.write_text("#!/bin/sh\necho not installed >&2\nexit 127\n")
    shim.chmod(0o755)
    assert find({"PATH": str(tmp_path)}) == {sys.version_info.minor: Path(sys.executable)}


def test_pythons_of_pyenv_are_found(tmp_path):
    python = tmp_path / "versions" / "3.14.1" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 3 14\n")
    python.chmod(0o755)
    assert find({"PYENV_ROOT": str(tmp_path), "PATH": ""})[14] == python
