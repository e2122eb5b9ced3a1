"""Profiles are whole, and a recipe that names one which is not there is refused."""

import pytest
from pydantic import ValidationError

from lift_core.errors import RecipeError
from lift_core.synthesis.profiles import Profile, load_profile, profiles


@pytest.mark.parametrize(("name", "version"), profiles())
def test_every_profile_loads_and_is_what_its_file_name_says(name, version):
    profile = load_profile(name, version)
    assert (profile.name, profile.version) == (name, version)


def test_the_shipped_profiles_are_there():
    assert {name for name, _ in profiles()} >= {"answers", "lines", "json", "global", "reading", "judging"}


@pytest.mark.parametrize(("name", "version"), [("lines", 99), ("nonsense", 1), ("../lines", 1)])
def test_an_unknown_profile_is_refused_with_the_known_ones(name, version):
    with pytest.raises(RecipeError, match="lines 1"):
        load_profile(name, version)


def test_a_profile_is_a_text_or_a_chat_and_only_a_chat_has_a_schema():
    chat = [{"role": "user", "content": "{segment}"}]
    for broken in (
        {},
        {"text": "{segment}", "messages": chat},
        {"text": "{segment}", "json_schema": {"type": "object"}},
        {"text": "{segment}", "choosing": "{segment}"},
    ):
        with pytest.raises(ValidationError):
            Profile(name="x", version=1, reads="json", **broken)


def test_a_question_is_read_only_where_its_answer_was_chosen():
    with pytest.raises(ValidationError, match="chosen first"):
        Profile(name="x", version=1, reads="question", text="{answer}")
