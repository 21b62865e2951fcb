# ruff: noqa: INP001 - mkdocs loads it by its path
"""For the site (`make docs`): pages of the repository that lie outside of docs/, and links that lead to them.

On the site stand also the README, those of the drivers, CONTRIBUTING, CHANGELOG, and each example as a page. A link to
any other file of the repository is shown as its text: the site does not carry it.
"""

from __future__ import annotations

import re
from os.path import normpath, relpath
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from contract_reference import contract_reference

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
#: Where pages from outside of docs/ stand on the site, by their path in the repository.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "contract-tests/README.md": "contract-tests.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/tested_shop/README.md": "examples/tested_shop.md",
    "examples/toy_driver/README.md": "examples/toy_driver.md",
    "examples/toy_backend/README.md": "examples/toy_backend.md",
    "examples/toy_sql/README.md": "examples/toy_sql.md",
    **{
        f"plugins/{path.parent.name}/README.md": f"drivers/{path.parent.name}.md"
        for path in ROOT.glob("plugins/*/README.md")
    },
}
EXAMPLES = {f"examples/{path.name}": f"examples/{path.stem}.md" for path in sorted(ROOT.glob("examples/*.py"))}
#: The page that is made of the docstrings of `drivetrain.contract`.
REFERENCE = "reference/contract.md"
#: Links to a directory lead to a page.
INDEX = "examples/index.md"
DIRECTORIES = {
    "core/src/drivetrain/contract": REFERENCE,
    "docs": "index.md",
    "docs/decisions": "decisions/README.md",
    "examples": INDEX,
    "examples/tested_shop": "examples/tested_shop.md",
    "examples/toy_backend": "examples/toy_backend.md",
    "examples/toy_driver": "examples/toy_driver.md",
    "examples/toy_sql": "examples/toy_sql.md",
}

#: A picture is a link with a mark before it, which stays where it is.
LINK = re.compile(r"\[(?P<text>[^]]*)]\((?P<target>[^)\s]+)\)")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Put the pages of a directory where ``nav`` names the directory."""
    config.nav = [spread(entry) for entry in config.nav]
    return config


def spread(entry: Any) -> Any:
    """An entry of ``nav``: the pages of a directory in place of its name."""
    if isinstance(entry, dict):
        return {title: spread(inside) for title, inside in entry.items()}
    if isinstance(entry, list):
        return [spread(inside) for inside in entry]
    if entry == "decisions/":
        return [
            "decisions/README.md",
            *(f"decisions/{path.name}" for path in sorted(ROOT.glob("docs/decisions/0*.md"))),
        ]
    if entry == "examples/":
        return [INDEX, *EXAMPLES.values()]
    return entry


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside of docs/."""
    from mkdocs.structure.files import File

    for path, place in OUTSIDE.items():
        if (ROOT / path).exists():
            files.append(File.generated(config, place, content=(ROOT / path).read_text(encoding="utf-8")))
    for path, place in EXAMPLES.items():
        files.append(File.generated(config, place, content=example(path)))
    files.append(File.generated(config, INDEX, content=list_of_examples()))
    files.append(File.generated(config, REFERENCE, content=contract_reference()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to where pages stand on the site."""
    here = page.file.src_uri
    source = next((path for path, place in {**OUTSIDE, **EXAMPLES}.items() if place == here), f"docs/{here}")
    parts = FENCED.split(markdown)
    parts[::2] = [LINK.sub(lambda link: moved(link, source, here), part) for part in parts[::2]]
    return "".join(parts)


def moved(link: re.Match[str], source: str, here: str) -> str:
    """A link of the page ``source`` of the repository, which is the page ``here`` of the site."""
    path, hash_sign, anchor = link["target"].partition("#")
    if "://" in path or path.startswith("mailto:") or not path:
        return link[0]
    target = normpath(PurePosixPath(source).parent / path)
    place = place_of(target)
    if place is None:
        return link["text"]
    return f"[{link['text']}]({relpath(place, PurePosixPath(here).parent)}{hash_sign}{anchor})"


def place_of(path: str) -> str | None:
    """Where a file of the repository stands on the site; None: nowhere."""
    if path in DIRECTORIES:
        return DIRECTORIES[path]
    if path.startswith("docs/") and path.endswith((".md", ".png")):
        return path.removeprefix("docs/")
    place = {**OUTSIDE, **EXAMPLES}.get(path)
    return place if place is None or (ROOT / path).exists() else None


def example(path: str) -> str:
    """The page of an example: what it says of itself, and its code."""
    code = (ROOT / path).read_text(encoding="utf-8")
    return f"# {PurePosixPath(path).name}\n\n```python\n{code}```\n"


def list_of_examples() -> str:
    """The page of all examples, each with the first line of what it says of itself."""
    lines = ["# Examples", "", "Small programs, each run by the tests.", ""]
    for path, place in EXAMPLES.items():
        first = (ROOT / path).read_text(encoding="utf-8").splitlines()[0].strip('"')
        lines.append(f"- [{PurePosixPath(path).name}]({PurePosixPath(place).name}): {first}")
    return "\n".join(lines) + "\n"
