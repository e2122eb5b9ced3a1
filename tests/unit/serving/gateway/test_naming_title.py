"""What an adapter was trained to see before a question comes before it in a chat, once."""

import asyncio

import pytest

from lift_core.prompting import messages
from lift_core.records import Recipe, TrainingRecipe
from lift_core.serving.gateway.naming import Names

LINE = 'Answer briefly from your memory of "Report of {1912}".'
IN_USER = TrainingRecipe(title_in="user")
IN_SYSTEM = TrainingRecipe()


@pytest.fixture
def as_trained(registry):
    """Run a chat past the names, for an adapter of a recipe with the title in the user's message."""

    def run(chat, training=IN_USER):
        registry.recipe = lambda digest: Recipe(training=training)
        names = Names(registry)
        try:
            return asyncio.run(names.as_trained(registry.by_name["report-v1"], chat))
        finally:
            names.close()

    return run


def user(content):
    return {"role": "user", "content": content}


def said(content):
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize("training", [IN_USER, IN_SYSTEM])
def test_a_bare_question_becomes_the_prompt_that_was_trained_on(as_trained, training):
    assert as_trained([user("Who?")], training) == messages(training, "Report of {1912}", "Who?")


def test_the_title_comes_before_the_first_question_alone(as_trained):
    chat = [user("Who?"), said("Ada."), user("When?")]
    assert as_trained(chat) == [user(f"{LINE}\n\nWho?"), *chat[1:]]


def test_the_client_s_own_messages_are_left_as_they_are(as_trained):
    chat = [said("Ask me."), {**user("Who?"), "name": "ada"}]
    given = [dict(each) for each in chat]
    assert as_trained(chat) == [chat[0], {**user(f"{LINE}\n\nWho?"), "name": "ada"}]
    assert chat == given


def test_a_client_that_names_the_title_itself_has_it_once(as_trained):
    chat = messages(IN_USER, "Report of {1912}", "Who?")
    assert as_trained(chat) == chat


def test_in_a_message_of_parts_the_first_text_has_the_title(as_trained):
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    parts = [image, {"type": "text", "text": "Who?"}, {"type": "text", "text": "When?"}]
    begun = [image, {"type": "text", "text": f"{LINE}\n\nWho?"}, parts[2]]
    assert as_trained([user(parts)]) == [user(begun)]
    assert as_trained([user(begun)]) == [user(begun)]


@pytest.mark.parametrize(
    "chat",
    [
        [],
        [said("Nobody asked.")],
        ["no message", 5],
        [user(None)],
        [user([])],
        [user([{"type": "image_url"}, "no part", {"type": "text", "text": 5}])],
    ],
)
def test_what_holds_no_question_is_passed_on_for_the_server_to_judge(as_trained, chat):
    assert as_trained(chat) == chat
