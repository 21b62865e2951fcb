"""`drivetrain.contract.namespaces`: what a service calls a namespace."""

import re
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import DEFAULT_NAMESPACE, DriverContext, namespace_option, service_name

#: What drivers ask for, and the characters and length that this leaves.
ASKED = [
    ({}, "a-z0-9_", 60),
    ({"also": "-"}, "a-z0-9_-", 60),
    ({"also": "ABCDEFGHIJKLMNOPQRSTUVWXYZ.:-"}, "A-Za-z0-9_.:-", 60),
    ({"also": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "longest": 24}, "A-Za-z0-9_", 36),
]
#: Any text; and texts that are nearly plain, of which many look alike.
TEXTS = (
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=80)
    | st.text("aAbB_-.: éß\u0301", min_size=1, max_size=4)
    | st.text(ascii_letters + digits + "_", min_size=20, max_size=70)
)


def test_the_usual_namespace_is_that_of_a_context():
    assert DriverContext().namespace == DEFAULT_NAMESPACE == "drivetrain"


@pytest.mark.parametrize("name", ["shop", "a", "7", "my_app", "_", "x" * 60])
def test_a_plain_name_stays_as_it_is(name):
    assert service_name(name) == name


@pytest.mark.parametrize(("name", "also"), [("my-app", "-"), ("Shop.eu", "ABCDEFGHIJKLMNOPQRSTUVWXYZ.")])
def test_other_characters_that_the_service_takes_are_kept(name, also):
    assert service_name(name, also=also) == name
    assert service_name(name) != name


@pytest.mark.parametrize(
    ("name", "readable"),
    [("My-App", "my_app"), ("Größe ☃", "gr_e"), ("x" * 61, "x" * 10), ("☃", ""), ("a__b", "a_b"), ("shop ", "shop")],
)
def test_any_other_stays_readable(name, readable):
    assert re.fullmatch(f"{readable}__[a-z2-7]{{24}}", service_name(name))


@given(st.sets(TEXTS, min_size=2, max_size=20), st.sampled_from(ASKED))
def test_no_two_are_called_alike_and_every_name_is_legal(names, asked):
    how, legal, longest = asked
    made = [service_name(name, **how) for name in names]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(f"[{legal}]{{1,{longest}}}", name) for name in made)
    if "A-Z" not in legal:  # for services that do not tell upper from lower case
        assert len({name.casefold() for name in made}) == len(made)


@given(TEXTS)
def test_a_generated_name_is_changed_if_it_is_given_again(name):
    made = service_name(name)
    assert made == name or service_name(made) != made


@pytest.mark.parametrize("text", ["", " ", " a", "a\t", "\n"])
def test_an_empty_or_padded_option_is_refused(text):
    with pytest.raises(ValueError, match="without a space at either end"):
        namespace_option(text)


def test_any_other_option_is_taken():
    assert namespace_option("Größe ☃") == "Größe ☃"
