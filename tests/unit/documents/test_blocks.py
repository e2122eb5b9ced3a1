"""Headings, lists, tables and code are told by their looks, and stand with what they belong to."""

import pytest

from lift_core.documents import split
from lift_core.documents.blocks import Role, blocks_of
from lift_core.records import SegmentationRecipe


def roles(text):
    return [(block.role.name.lower(), text[block.start : block.end]) for block in blocks_of(text)]


def texts(text):
    return [segment.text for segment in split(text, SegmentationRecipe())]


@pytest.mark.parametrize(
    "heading",
    [
        "## Lamps",
        "Lamps\n=====",
        "Why was it dark?\n-----------------",
        "=====\nLamps\n=====",
        "Lamps and Their Keepers",
        "THE LAMPS OF\xa01712",
        "1.2 Lamps",
    ],
)
def test_a_heading_stands_with_what_it_names(heading):
    text = f"The sea was calm.\n\n{heading}\n\nThe first lamp burned oil. The second did not."
    assert roles(text)[1] == ("heading", heading)
    assert texts(text) == [
        "The sea was calm.",
        f"{heading}\n\nThe first lamp burned oil.",
        "The second did not.",
    ]


def test_a_heading_in_capitals_needs_no_blank_line():
    text = "FIGHTING THE DARK\nThe lamp was lit at dusk every day."
    assert [role for role, _ in roles(text)] == ["heading", "prose"]


def test_headings_in_a_row_stand_with_the_first_statement():
    assert texts("# Lamps\n\n## Oil\n\nIt burned.") == ["# Lamps\n\n## Oil\n\nIt burned."]


@pytest.mark.parametrize(
    "line", ["It burned for a year.", "and went out", "https://example.org/lamps", "a " * 60, "Year: 1712"]
)
def test_a_line_by_itself_is_not_always_a_heading(line):
    assert roles(f"Some text is here.\n\n{line}\n\nMore text is here.")[1][0] != "heading"


def test_short_items_stand_with_what_announces_them():
    text = "The lamps burned one of these:\n\n* seal oil\n* coal gas\n  from Marra\n* wax\n\nAll were dear."
    assert texts(text) == [
        "The lamps burned one of these:\n\n* seal oil\n* coal gas\n  from Marra\n* wax",
        "All were dear.",
    ]


def test_items_that_are_sentences_stand_alone_but_for_the_first():
    text = "These were the rules:\n1. The lamp is lit at dusk.\n2. The keeper stays awake. He eats nothing.\n"
    assert texts(text) == [
        "These were the rules:\n1. The lamp is lit at dusk.",
        "2. The keeper stays awake.",
        "He eats nothing.",
    ]


def test_many_short_items_become_several_segments():
    items = [f"- lamp number {n} of the northern coast" for n in range(60)]
    found = texts("\n".join(items))
    assert len(found) > 3
    assert max(map(len, found)) <= 600
    assert "\n".join(found) == "\n".join(items)


def test_a_number_that_begins_a_line_of_a_sentence_begins_no_item():
    text = (
        "The tower was built on the rock in the year\n1712. "
        "It cost 4 crowns and burned down in the winter of\n1801."
    )
    assert texts(text) == [
        "The tower was built on the rock in the year\n1712.",
        "It cost 4 crowns and burned down in the winter of\n1801.",
    ]


def test_answers_stand_with_their_question():
    text = (
        "Which oil burned first?\n\n1.  seal\n2.  coal\n\n\nA\n\n\nWho slept?\n\n1.  Krell\n2.  nobody\n\nB\n"
    )
    assert texts(text) == [
        "Which oil burned first?\n\n1.  seal\n2.  coal\n\n\nA",
        "Who slept?\n\n1.  Krell\n2.  nobody\n\nB",
    ]


def test_rows_of_a_table_stand_together_with_their_head():
    for table in (
        "| lamp | year |\n|---|---|\n| oil. Dear | 1712 |",
        "lamp | year\n--- | ---\noil. Dear | 1712",
        "lamp\tyear\noil. Dear\t1712",
        "+------+------+\n| lamp | year |\n+======+======+\n| oil. | 1712 |\n+------+------+",
        "=====  =====\nlamp   year\n=====  =====\noil.   1712\n=====  =====",
    ):
        assert texts(f"It was dark.\n\n{table}\n\nIt was light.") == ["It was dark.", table, "It was light."]


@pytest.mark.parametrize(
    "code",
    [
        "```python\nprint('a. B')\n\nx = 1. Y\n```",
        "~~~\na. B? C!\n~~~",
        ".. code-block:: c\n\n  int a; // One. Two.\n\n  int b;",
    ],
)
def test_code_is_never_cut_and_stands_with_what_announces_it(code):
    assert roles(code) == [("code", code)]
    assert texts(f"The lamp is this program:\n\n{code}\n\nIt burns.") == [
        f"The lamp is this program:\n\n{code}",
        "It burns.",
    ]


def test_a_double_colon_announces_code():
    text = "The lamp does this::\n\n    burn. Then\n\n    rest.\n\nIt is lit."
    assert texts(text) == ["The lamp does this::\n\n    burn. Then\n\n    rest.", "It is lit."]


def test_a_fence_that_nobody_closes_hides_nothing():
    assert texts("```\nThe lamp was lit.\n\nThe keeper slept.\n")[-1] == "The keeper slept."


def test_fields_are_items_and_not_one_sentence():
    text = "Author: Krell, J. R.\nYear: 1712\nTitle: On Lamps. A Study\n\nThe lamp was lit."
    assert texts(text)[-1] == "The lamp was lit."
    assert texts(text)[0].startswith("Author: Krell, J. R.")
    assert [role for role, _ in roles(text)] == ["item", "item", "item", "prose"]


def test_a_term_stands_with_its_definition():
    text = "lamp\n: what gives light\n^\n\noil\n: what it burns\n"
    assert [said for role, said in roles(text) if role == "item"] == [
        "lamp\n: what gives light",
        "oil\n: what it burns",
    ]


def test_targets_and_notes_of_restructured_text_are_items():
    text = "It burned.\n\n.. _Lamp: https://example.org/a.b\n.. [#note] Krell wrote it. He lied.\n   Twice.\n"
    assert [role for role, _ in roles(text)] == ["prose", "item", "item"]


def test_page_numbers_and_rules_join_what_is_before_them():
    text = "The lamp was lit at dusk.\n\n- 12 -\n\n* * *\n\nThe keeper slept till noon."
    assert texts(text) == ["The lamp was lit at dusk.\n\n- 12 -\n\n* * *", "The keeper slept till noon."]


def test_a_tag_alone_is_no_statement():
    text = "<table>\n<tr><td>The lamp was lit.</td></tr>\n</table>\n\nThe keeper slept."
    assert texts(text)[-1] == "The keeper slept."
    assert len(texts(text)) == 2


def test_blocks_leave_nothing_out():
    text = "# A\n\nb c:\n- dd\n\n| e |\n\n```\nf\n```\n12\n\n---\n"
    assert "".join("".join(said.split()) for _, said in roles(text)) == "".join(text.split())
    assert {Role.CODE, Role.ROW, Role.ITEM} <= {block.role for block in blocks_of(text)}
