"""Looking at other processes."""

from pathlib import Path


def alive(pid):
    """Whether the process runs, and is not only waiting to be forgotten."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
