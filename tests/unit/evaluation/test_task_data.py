"""Items from a folder: a file with anything broken is refused whole, with the file, line and cause."""

import json

import pytest

from lift_core.errors import EvaluationDataError
from lift_core.evaluation.task_data import FILES, Gsm8kRow, MmluRow, as_documents, find_file, read_rows


def broken(files, name, row, **changes):
    """The second line of a file with a row changed, after one that is whole; None takes a field out."""
    bad = {key: value for key, value in (row | changes).items() if value is not None}
    files.rows[name][1] = bad
    return files.write() / name


def refusal(path, row):
    with pytest.raises(EvaluationDataError) as refused:
        read_rows(path, row)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_every_field_of_every_row_arrives(files):
    folder = files.write()
    for task, row in (("mmlu", MmluRow), ("gsm8k", Gsm8kRow)):
        for name in FILES[task]:
            assert as_documents(read_rows(folder / name, row)) == files.rows[name]


def test_fields_that_are_not_asked_for_are_left_out(files):
    path = broken(files, "gsm8k_test.jsonl", files.rows["gsm8k_test.jsonl"][1], split="main", level=3)
    assert set(as_documents(read_rows(path, Gsm8kRow))[1]) == {"id", "question", "answer"}


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"question": None}, "question: Field required"),
        ({"id": None}, "id: Field required"),
        ({"id": ""}, "id: String should have at least 1 character"),
        ({"subject": None}, "subject: Field required"),
        ({"subject": "../anatomy"}, "subject: String should match pattern"),
        ({"choices": ["a", "b", "c", "d", "e"]}, "choices: List should have at most 4 items"),
        ({"choices": ["a", "b", "c"]}, "choices: List should have at least 4 items"),
        ({"choices": ["a", "b", "", "d"]}, "choices.2: String should have at least 1 character"),
        ({"answer": 4}, "answer: Input should be less than or equal to 3"),
        ({"answer": -1}, "answer: Input should be greater than or equal to 0"),
        ({"answer": "A"}, "answer: Input should be a valid integer"),
        ({"answer": True}, "answer: Input should be a valid integer"),
        ({"answer": None}, "answer: Field required"),
    ],
)
def test_a_broken_mmlu_row_is_refused_with_its_line_and_field(files, changes, cause):
    path = broken(files, "mmlu_test.jsonl", files.rows["mmlu_test.jsonl"][1], **changes)
    message = refusal(path, MmluRow)
    assert f"line 2: {cause}" in message
    assert "nothing of the file is used" in message


@pytest.mark.parametrize(
    "answer",
    [
        "12",
        "the end is 12",
        "#### twelve",
        "#### ",
        "####12",
        "####  12",
        "#### 12 lamps",
        "#### 12\n",
        "#### .,",
    ],
)
def test_a_gsm8k_answer_that_no_model_could_match_is_refused(files, answer):
    path = broken(files, "gsm8k_test.jsonl", files.rows["gsm8k_test.jsonl"][1], answer=answer)
    assert "line 2: answer: String should match pattern" in refusal(path, Gsm8kRow)


@pytest.mark.parametrize("number", ["12", "-12", "1,200", "0.5", "$18", "12."])
def test_the_ways_in_which_gsm8k_writes_numbers_are_taken(files, number):
    path = broken(files, "gsm8k_test.jsonl", files.rows["gsm8k_test.jsonl"][1], answer=f"So.\n#### {number}")
    assert len(read_rows(path, Gsm8kRow)) == 7


@pytest.mark.parametrize("line", ['{"id": "x"', "[1, 2]", "null", '{"id": "x"} {"id": "y"}', "id,question"])
def test_a_line_that_is_no_json_object_is_refused_by_its_number(files, line):
    path = files.write() / "gsm8k_test.jsonl"
    path.write_text(f"{path.read_text()}\n\n{line}\n")
    # Seven rows and two empty lines come before it: a number that an editor shows.
    assert "line 10: the line: " in refusal(path, Gsm8kRow)


def test_a_file_cut_short_is_refused(files):
    path = files.write() / "mmlu_test.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert "line 18: the line: Invalid JSON" in refusal(path, MmluRow)


def test_an_id_that_is_there_twice_is_named(files):
    path = broken(files, "mmlu_test.jsonl", files.rows["mmlu_test.jsonl"][0], question="Another?")
    assert "the id 'anatomy-test-0' is there twice" in refusal(path, MmluRow)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_items_is_refused(files, content):
    path = files.write() / "gsm8k_test.jsonl"
    path.write_text(content)
    assert "has no items" in refusal(path, Gsm8kRow)


def test_a_file_that_is_not_utf_8_is_refused(files):
    path = files.write() / "gsm8k_test.jsonl"
    path.write_bytes(path.read_bytes().replace(b"lamps", "lämps".encode("latin-1")))
    assert "cannot be read: 'utf-8' codec can't decode" in refusal(path, Gsm8kRow)


def test_a_folder_in_the_place_of_a_file_is_refused(files):
    (files.folder / "gsm8k_test.jsonl").mkdir(parents=True)
    assert "cannot be read" in refusal(files.folder / "gsm8k_test.jsonl", Gsm8kRow)


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85"])
def test_what_python_takes_for_a_line_end_inside_a_json_string_is_none(files, end):
    row = files.rows["gsm8k_test.jsonl"][1] | {"question": f"Two lines?{end}One."}
    files.rows["gsm8k_test.jsonl"][1] = row
    path = files.write() / "gsm8k_test.jsonl"
    lines = [json.dumps(each, ensure_ascii=False) for each in files.rows["gsm8k_test.jsonl"]]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert as_documents(read_rows(path, Gsm8kRow)) == files.rows["gsm8k_test.jsonl"]


def test_line_ends_of_another_system_change_nothing(files):
    path = files.write() / "gsm8k_test.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert as_documents(read_rows(path, Gsm8kRow)) == files.rows["gsm8k_test.jsonl"]


def test_a_file_is_found_below_the_folder(files):
    files.folder = files.folder / "v1"
    files.folder.parent.mkdir()
    folder = files.write()
    assert find_file(folder.parent, "mmlu_dev.jsonl") == folder / "mmlu_dev.jsonl"


def test_a_file_that_is_not_there_is_named_with_the_folder_and_the_setting(files):
    folder = files.write()
    (folder / "mmlu_dev.jsonl").unlink()
    with pytest.raises(EvaluationDataError) as refused:
        find_file(folder, "mmlu_dev.jsonl")
    for word in ("mmlu_dev.jsonl", str(folder), "LIFT_EVALUATION_DATA", "it is not there"):
        assert word in str(refused.value)


def test_two_files_of_one_name_are_both_named(files):
    folder = files.write()
    (folder / "old").mkdir()
    (folder / "old" / "mmlu_dev.jsonl").write_text("{}")
    with pytest.raises(EvaluationDataError) as refused:
        find_file(folder, "mmlu_dev.jsonl")
    for word in ("there are 2", str(folder / "mmlu_dev.jsonl"), str(folder / "old" / "mmlu_dev.jsonl")):
        assert word in str(refused.value)
