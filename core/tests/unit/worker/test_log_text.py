"""`drivetrain.worker.log_text`: what is logged is bounded."""

import pytest

from drivetrain.worker.log_text import LONGEST_LOGGED, shortened, shortened_lines


@pytest.mark.parametrize("text", ["", "short", "x" * LONGEST_LOGGED, "ü" * LONGEST_LOGGED])
def test_what_is_not_too_long_stays(text):
    assert shortened(text) == text
    assert shortened_lines(text) == text


def test_a_longer_text_is_cut_and_its_length_is_named():
    assert shortened("x" * 15_728_640, 5) == "xxxxx... (15,728,640 characters)"


def test_of_lines_each_is_cut_and_those_at_both_ends_stay():
    text = "\n".join(["Traceback:", "x" * 20, *map(str, range(1000)), "ValueError: " + "y" * 20])
    assert shortened_lines(text, longest=10, most=6).split("\n") == [
        "Traceback:",
        "xxxxxxxxxx... (20 characters)",
        "0",
        "... (997 lines left out)",
        "998",
        "999",
        "ValueError... (32 characters)",
    ]
