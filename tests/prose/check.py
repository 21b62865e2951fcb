"""Part of ``make lint``: looks for phrases that our prose avoids, in documents, docstrings, comments and messages.

`TO_DO` lists files and directories that are still to be rewritten. They may have findings; an entry without one is an
error, so the list can only shrink.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from prose.extract import prose_of_markdown, prose_of_python
from prose.patterns import Finding, findings

__all__ = ["main", "problems"]

ROOT = Path(__file__).resolve().parents[2]
TO_DO = Path(__file__).with_name("to_do.txt")
FILES = (
    "*.md", "docs/**/*.md", "core/README.md", "contract-tests/README.md", "benchmarks/README.md", "plugins/*/README.md",
    "examples/**/*.md", "examples/**/*.py", "core/src/**/*.py", "contract-tests/src/**/*.py", "plugins/*/src/**/*.py",
)  # fmt: skip


def main() -> int:
    """Print all problems; 1 if there are any."""
    paths = sorted({path for pattern in FILES for path in ROOT.glob(pattern)})
    found = {path.relative_to(ROOT).as_posix(): [*findings(_prose(path))] for path in paths}
    to_do = [line for line in TO_DO.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    lines = problems(found, to_do)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if lines else 0


def problems(found: Mapping[str, Sequence[Finding]], to_do: Iterable[str]) -> list[str]:
    """A line for each finding outside of the list, and for each entry of the list without a finding.

    Args:
        found: the findings of each file, by its path.
        to_do: paths of files, and paths of directories with a slash at the end.
    """
    entries = dict.fromkeys(to_do, 0)
    lines: list[str] = []
    for path, each in found.items():
        if (entry := next((entry for entry in entries if _covers(entry, path)), None)) is not None:
            entries[entry] += len(each)
            continue
        for one in sorted(each, key=lambda finding: finding.line):
            lines.append(f"{path}:{one.line}: {one.phrase!r}: {one.advice}")
    lines += [f"{TO_DO.name}: {entry} has no findings; remove it" for entry, number in entries.items() if not number]
    return lines


def _covers(entry: str, path: str) -> bool:
    return path.startswith(entry) if entry.endswith("/") else path == entry


def _prose(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return prose_of_markdown(text) if path.suffix == ".md" else prose_of_python(text)


if __name__ == "__main__":
    sys.exit(main())
