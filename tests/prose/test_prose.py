"""The check of the words finds the phrases, leaves plain sentences and code alone, and names the right line."""

import pytest

from prose.check import main, problems
from prose.extract import prose_of_markdown, prose_of_python
from prose.patterns import PATTERNS, Finding, findings

#: For each pattern, in their order: a text with the phrase.
RIDDLES = [
    ("Who waits reads the socket.", "Who"),
    ("It is a hint for who reads it.", "for who"),
    ("The caller is told by an event.", "told"),
    ("A group is no task.", "is no task"),
    ("It connects anew.", "anew"),
    ("The lease has so many seconds.", "so many seconds"),
    ("What is kept so long expires.", "kept so long"),
    ("The work begins in earnest.", "in earnest"),
    ("The task is gone for good.", "for good"),
    ("The worker sees to it.", "sees to"),
    ("SQS takes no such signs.", "signs"),
    ("Those of which the record is gone.", "Those of which"),
    ("A crash in the midst of it.", "the midst"),
    ("Wait, lest it be lost.", "lest"),
]


@pytest.mark.parametrize(("text", "phrase"), RIDDLES)
def test_a_phrase_is_found(text, phrase):
    assert [each.phrase for each in findings(text)] == [phrase]


def test_there_is_an_example_of_every_pattern():
    hit = [next(number for number, each in enumerate(PATTERNS) if each.expression.search(text)) for text, _ in RIDDLES]
    assert hit == list(range(len(PATTERNS)))


@pytest.mark.parametrize(
    "text",
    [
        "Who settles a delivery?",
        "A user who has no permission sees an error.",
        "There is no queue of this name.",
        "It is no longer held.",
        "A restart is no safer.",
        "There are so many messages that the queue is full.",
        "It holds the message for so long as it runs.",
        "There is a reason for good measure.",
        "See the guide. It seems to work.",
        "The driver signs requests.",
    ],
)
def test_a_plain_sentence_has_no_findings(text):
    assert [*findings(text)] == []


def test_a_phrase_may_continue_on_the_next_line():
    assert [*findings("one\nis gone for\ngood.")] == [Finding(2, "for good", "write 'permanently'")]


def test_code_in_a_document_is_not_prose():
    text = "A `told` field.\n\n```python\ntold = 1\n```\n\n    told = 2\n\n[a page](told.md) <!-- told -->\n\ntold\n"
    assert [each.line for each in findings(prose_of_markdown(text))] == [11]


def test_the_prose_of_python_is_docstrings_comments_and_messages():
    source = (
        '"""A caller is told.\n\nOr told `told`.\n"""\n'
        "#: What was told by the service.\n"
        "told = ['told']\n"
        "raise ValueError(f'the value {told} was told '\n    'to the caller')\n"
    )
    assert sorted(each.line for each in findings(prose_of_python(source))) == [1, 3, 5, 7]


def test_the_list_of_files_to_do_can_only_shrink():
    told = [Finding(3, "told", "say which")]
    found = {"a.md": told, "b.md": [], "c/d.md": told, "c/e.md": []}
    assert problems(found, ["a.md", "c/"]) == []
    assert problems(found, ["c/"]) == ["a.md:3: 'told': say which"]
    assert problems(found, ["a.md", "b.md", "c/"]) == ["to_do.txt: b.md has no findings; remove it"]
    assert problems({"a.md": told}, ["a.md", "gone/"]) == ["to_do.txt: gone/ has no findings; remove it"]


def test_the_repository_has_no_findings_outside_of_the_list(capsys):
    assert main() == 0, capsys.readouterr().out
