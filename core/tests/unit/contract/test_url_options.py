"""`drivetrain.contract.url_options`: options of URLs, and all that is wrong with them."""

import pytest

from drivetrain.contract import (
    boolean_option,
    choice_option,
    read_options,
    seconds_option,
    unknown_option,
    whole_number_option,
)

READERS = {
    "fifo": boolean_option,
    "mode": choice_option("fast", "safe"),
    "size": whole_number_option(1, 64),
    "timeout_seconds": seconds_option(0.5, 60),
    "file": str,
}


def test_options_are_read():
    options = {"fifo": "true", "mode": "safe", "size": "064", "timeout_seconds": "1e1", "file": ""}
    assert read_options(options, READERS) == (
        {"fifo": True, "mode": "safe", "size": 64, "timeout_seconds": 10.0, "file": ""},
        [],
    )


def test_every_fault_is_reported_and_correct_options_are_read():
    values, faults = read_options({"fifo": "1", "mode": "slow", "siez": "1", "colour": "red", "file": "x"}, READERS)
    assert values == {"file": "x"}
    assert faults == [
        "fifo is '1'; use true or false",
        "mode is 'slow'; use fast or safe",
        "there is no option 'siez'; did you mean 'size'?",
        "there is no option 'colour'; use fifo, mode, size, timeout_seconds, file",
    ]


@pytest.mark.parametrize("text", ["0", "65", "-1", "1.0", "", "x", "٣", "1" * 5000])
def test_a_number_that_is_not_within_its_bounds_is_refused(text):
    with pytest.raises(ValueError, match="from 1 to 64"):
        READERS["size"](text)


@pytest.mark.parametrize("text", ["0", "61", "-1", "nan", "inf", "-inf", "", "soon", "1e999"])
def test_seconds_that_are_not_within_their_bounds_are_refused(text):
    with pytest.raises(ValueError, match=r"from 0\.5 to 60"):
        READERS["timeout_seconds"](text)


def test_the_error_says_that_there_are_no_options():
    assert unknown_option("a", {}) == "there is no option 'a'; this URL takes none"
