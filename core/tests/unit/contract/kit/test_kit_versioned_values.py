"""Which writes of versioned values take effect, and which values are too large."""

import pytest

from drivetrain.contract import TooLarge, ValueWrite, VersionedValue, check_value_sizes, takes_effect

STORED = VersionedValue(value=b"v", version=7)


@pytest.mark.parametrize("value", [b"new", None])
@pytest.mark.parametrize(
    ("if_version", "stored", "expected"),
    [
        (None, None, True),
        (None, STORED, True),
        (0, None, True),
        (0, STORED, False),
        (7, STORED, True),
        (7, None, False),
        (6, STORED, False),
        (8, STORED, False),
    ],
)
def test_a_write_or_removal_takes_effect_on_the_version_that_it_names(value, if_version, stored, expected):
    write = ValueWrite(key="k", value=value, if_version=if_version)
    assert takes_effect(write, stored) is expected


def test_values_are_checked_and_removals_pass():
    check_value_sizes([ValueWrite(key="k", value=b"1234"), ValueWrite(key="k", value=None)], 4)
    with pytest.raises(TooLarge, match="a versioned value has 5 bytes"):
        check_value_sizes([ValueWrite(key="k", value=b""), ValueWrite(key="k", value=b"12345")], 4)
