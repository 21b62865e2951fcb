"""The documents tell the truth: their code runs, their tables are the code's own, and their links lead somewhere.

The Python blocks of a page are one program and run in order, in an empty directory. The line above a block may say
``<!-- with a worker -->``: then ``app.worker()`` works meanwhile; or ``<!-- not run -->``.

After a change of the settings: ``python tests/test_docs.py`` writes their table again.
"""

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from os.path import normpath
from pathlib import Path
from types import ModuleType

import pytest
from attrs import fields, frozen

import drivetrain
from drivetrain import Settings
from drivetrain.app import settings as settings_module
from drivetrain.contract import hookspecs

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "core/README.md")),
    *sorted(DOCS.rglob("*.md")),
]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
EACH = pytest.mark.parametrize("page", PAGES, ids=NAMES)

BLOCK = re.compile(r"^(?:<!-- (?P<how>[^\n]+?) -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^]]*]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
SETTINGS_TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- end of settings -->)", re.DOTALL)


# Code


@frozen
class Block:
    how: str
    code: str
    line: int


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["how"] or "", found["code"], text.count("\n", 0, found.start("code")))
        for found in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != ROOT and blocks(page)], ids=lambda p: p.name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"{page.stem.lower().replace('-', '_')}_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    try:
        for block in blocks(page):
            assert block.how in {"", "with a worker", "not run"}, block.how
            if block.how == "not run":
                compile(block.code, str(page), "exec")
                continue
            code = compile("\n" * block.line + block.code, str(page), "exec")
            with module.app.worker() if block.how else nullcontext():
                exec(code, vars(module))
    finally:
        for app in {id(one): one for one in vars(module).values() if isinstance(one, drivetrain.App)}.values():
            app.close()


def test_the_example_of_the_readme_says_what_it_shows(tmp_path):
    [example] = blocks(ROOT / "README.md")
    assert example.code.strip().count("\n") < 25
    (tmp_path / "tasks.py").write_text(example.code)
    shown = re.findall(r"#\s+→ (.*)$", example.code, re.MULTILINE)
    worker = subprocess.Popen(
        [Path(sys.executable).with_name("drivetrain"), "worker", "tasks:app"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = subprocess.run(
            [sys.executable, "tasks.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        worker.terminate()
        _, log = worker.communicate(timeout=60)
    assert said.stdout.splitlines() == shown, said.stderr + log
    assert worker.returncode == 0, log


# Tables and signatures


def settings_table():
    """The settings as a table, from the comments above them."""
    lines = inspect.getsource(settings_module).splitlines()
    [record] = [
        node
        for node in ast.parse("\n".join(lines)).body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    ]
    defaults = Settings()
    rows = ["| setting | type | default | what it says |", "| --- | --- | --- | --- |"]
    for node in record.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, kind = node.target.id, ast.unparse(node.annotation)
            default = getattr(defaults, name)
            shown = repr(dict(default) if kind.startswith("Mapping") else default)
            cells = (f"`{name}`", f"`{kind}`", f"`{shown}`", comment_above(lines, node.lineno).replace("``", "`"))
            rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    assert len(rows) == len(fields(Settings)) + 2
    return "\n".join(rows) + "\n"


def comment_above(lines, number):
    found = []
    while lines[number - 2].strip().startswith("#:"):
        number -= 1
        found.insert(0, lines[number - 1].strip().removeprefix("#:").strip())
    assert found, f"line {number} has no comment"
    return " ".join(found)


def test_the_table_of_settings_is_current():
    [table] = SETTINGS_TABLE.findall((DOCS / "guide.md").read_text(encoding="utf-8"))
    assert table == settings_table(), "write it again with: python tests/test_docs.py"


def test_every_hook_has_its_heading():
    told = re.findall(r"^### `(.*)`$", (DOCS / "hooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert told == [
        signature
        for kind in (
            hookspecs.DriverHooks,
            hookspecs.PluginHooks,
            hookspecs.ActingHooks,
            hookspecs.ObserverHooks,
        )
        for node in ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body
        if isinstance(node, ast.FunctionDef) and (signature := shown_signature(node))
    ]


def shown_signature(node):
    arguments = ", ".join(f"{one.arg}: {ast.unparse(one.annotation)}" for one in node.args.args if one.arg != "self")
    return f"{node.name}({arguments}) -> {ast.unparse(node.returns)}"


def test_every_exit_code_is_documented():
    from drivetrain.cli.exit_codes import MEANINGS

    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    told = {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)}
    assert told == {int(code): meaning for code, meaning in MEANINGS.items()}


def test_every_command_is_documented():
    from drivetrain.cli import main

    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert {name for name in main.commands if f"drivetrain {name}" not in text} == set()


# Links and manners


def slug(heading):
    words = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return words.strip().replace(" ", "-")


def anchors(page):
    return {slug(heading) for heading in HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))}


@EACH
def test_every_link_leads_somewhere(page):
    broken = []
    for link in LINK.finditer(FENCED.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = link["target"].partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link["target"])
    assert broken == []


@EACH
def test_every_page_has_one_title_and_no_open_fence(page):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^# ", FENCED.sub("", text), re.MULTILINE)) == 1
    assert text.count("\n```") % 2 == 0


@EACH
def test_no_page_names_a_place_on_somebodys_machine(page):
    assert re.findall(r"/(?:home|root|work|Users)/\S*", page.read_text(encoding="utf-8")) == []


def test_every_page_can_be_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        for link in LINK.finditer(FENCED.sub("", page.read_text(encoding="utf-8"))):
            target = Path(normpath(page.parent / link["target"].partition("#")[0]))  # a page may be a symbolic link
            if target.suffix == ".md" and target.exists() and target not in seen:
                waiting.append(target)
    assert set(PAGES) - seen == {ROOT / "core" / "README.md"}


if __name__ == "__main__":
    guide = DOCS / "guide.md"
    table = settings_table()
    guide.write_text(SETTINGS_TABLE.sub(lambda _: table, guide.read_text(encoding="utf-8")), encoding="utf-8")
