"""The site of the documents: every page is on it, and every link leads to a page of it. `make docs` builds it.

What mkdocs itself checks needs its own environment; what our hooks do to pages is checked here.
"""

import ast
import importlib.util
import re
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath
from types import SimpleNamespace

import pytest
import yaml

import drivetrain.contract

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def load_hooks():
    [place] = SETTINGS["hooks"]
    sys.path.insert(0, str((ROOT / place).parent))  # as mkdocs does
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS = load_hooks()
DOCS = {path.relative_to(ROOT / "docs").as_posix(): path for path in sorted((ROOT / "docs").rglob("*.md"))}
#: What is on the site: the place of each page, and its source.
PAGES = {
    **{place: path.read_text(encoding="utf-8") for place, path in DOCS.items()},
    **{place: (ROOT / source).read_text(encoding="utf-8") for source, place in HOOKS.OUTSIDE.items()},
    **{place: HOOKS.example(source) for source, place in HOOKS.EXAMPLES.items()},
    HOOKS.INDEX: HOOKS.list_of_examples(),
    HOOKS.REFERENCE: HOOKS.contract_reference(),
}
PICTURES = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.png")}


def leaves(nav):
    for entry in nav:
        inside = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [inside] if isinstance(inside, str) else leaves(inside)


def test_every_page_is_in_the_navigation_once():
    nav = HOOKS.on_config(SimpleNamespace(nav=SETTINGS["nav"])).nav
    assert sorted(leaves(nav)) == sorted(PAGES)


@pytest.mark.parametrize("place", PAGES)
def test_every_link_of_the_site_leads_to_a_page_of_it(place):
    shown = HOOKS.on_page_markdown(PAGES[place], SimpleNamespace(file=SimpleNamespace(src_uri=place)))
    outside_of_fences = "".join(HOOKS.FENCED.split(shown)[::2])
    for link in HOOKS.LINK.finditer(outside_of_fences):
        path = link["target"].partition("#")[0]
        if path and "://" not in path:
            assert normpath(PurePosixPath(place).parent / path) in PAGES.keys() | PICTURES, link[0]


def test_a_link_to_what_the_site_does_not_carry_is_shown_as_text():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    shown = HOOKS.on_page_markdown(
        "[the guide](docs/guide.md#settings), [a license](LICENSE), [elsewhere](https://example.org/x)\n", page
    )
    assert shown == "[the guide](guide.md#settings), a license, [elsewhere](https://example.org/x)\n"


def test_the_pins_of_the_site_are_exact():
    lines = (ROOT / "requirements-docs.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert {"mkdocs", "mkdocs-material"} <= {pin.partition("==")[0] for pin in pins}
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []


def test_the_reference_describes_every_name_of_the_contract():
    headings = set(re.findall(r"^### `(\w+)`$", PAGES[HOOKS.REFERENCE], re.MULTILINE))
    assert headings == set(drivetrain.contract.__all__)


def test_the_code_of_the_reference_is_python():
    signatures = re.findall(r"^```python\n(.*?)^```$", PAGES[HOOKS.REFERENCE], re.MULTILINE | re.DOTALL)
    assert len(signatures) > 150
    for signature in signatures:
        lines = signature.splitlines()
        head = next(number for number, line in enumerate(lines) if not line.startswith("@"))
        lines[head] += ":"
        ast.parse("\n".join([*lines, *([] if lines[head + 1 :] else ["    ..."])]))
