"""Names of keys: one slot for all keys of a name, and the name can be read from them."""

import pytest
from redis.crc import key_slot

from drivetrain_redis.keys import Keys


@pytest.mark.parametrize("name", ["q", "", "{", "}", "}{", "a}b", "ü", "q}:ready:0"])
def test_all_keys_of_a_name_are_in_one_slot_and_tell_the_name(name):
    keys = Keys("prefix")
    for key in (keys.queue(name), keys.task(name), keys.body(name)):
        assert key_slot(key) == key_slot(key + b":suffix")
        assert keys.name_of(key) == name
