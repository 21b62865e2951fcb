"""Words counted by a chord: a group over texts, one of which cannot be read, and a callback that adds up the others."""

import tempfile
from collections import Counter
from pathlib import Path

from drivetrain import App, Failure, chord, group

app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'work.db')}")


@app.task
def count_words(text: bytes) -> dict[str, int]:
    return dict(Counter(text.decode("ascii").lower().split()))


@app.task
def add_up(counts: list[dict[str, int] | Failure]) -> list[tuple[str, int]]:
    total: Counter[str] = Counter()
    for count in counts:
        if isinstance(count, Failure):
            print(f"left out: {count.type}")
        else:
            total.update(count)
    return total.most_common(3)


def main() -> None:
    texts = [b"the wheel turns the chain", b"the chain turns", b"\xff\xfe", b"and the rider turns"]
    counts = group(count_words.s(text) for text in texts).set(on_member_failure="collect")
    with app.worker():
        for word, number in app.send(chord(counts, add_up.s())).get(timeout=30):
            print(f"{number} {word}")


if __name__ == "__main__":
    main()
