"""Tasks of the guard: the harness's own prompts and scores, in an order and under digests of ours."""

import json

import pytest

from lift_core.errors import EvaluationDataError
from lift_core.evaluation.forgetting_tasks import load_tasks

pytestmark = pytest.mark.usefixtures("few_tasks")

CAPITALS = [
    {"id": f"c{n}", "text": f"The lamp of town {n} is", "options": ["red", "green", "blue"], "label": n % 3}
    for n in range(6)
]
CHOOSING = """\
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: options
doc_to_target: label
"""
ACCURACY = "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
WRITING = """\
task: sums
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


def load(name, folder, **options):
    return load_tasks([name], folder=folder, **options)[0]


def asked(task):
    """By item the contexts that a model is given."""
    return {
        prompt.item.id: [request.args[0] for request in prompt.requests]
        for prompt in task.prompts(0, len(task.items))
    }


def order(task):
    return [item.id for item in task.items]


def refused(*arguments, **options):
    with pytest.raises(EvaluationDataError) as error:
        load(*arguments, **options)
    return str(error.value)


@pytest.fixture
def own(tmp_path):
    """Write a task of one's own with its data; returns the folder of the YAML files."""

    def write(yaml, rows):
        folder, data = tmp_path / "tasks", tmp_path / "data.jsonl"
        folder.mkdir(exist_ok=True)
        data.write_text(rows if isinstance(rows, str) else "".join(f"{json.dumps(row)}\n" for row in rows))
        (folder / "own.yaml").write_text(yaml.format(data=data))
        return folder

    return write


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Whatever the harness keeps of own data, it keeps below the test's folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


# --- prompts ------------------------------------------------------------------------------


def test_an_mmlu_prompt_has_the_five_examples_of_its_own_subject_then_the_question(files):
    task = load("mmlu", files.write())
    questions = {row["id"]: row for row in files.rows["mmlu_test.jsonl"]}
    for prompt in task.prompts(0, len(task.items)):
        row = questions[prompt.item.id]
        examples = [each for each in files.rows["mmlu_dev.jsonl"] if each["subject"] == row["subject"]]
        text = ""
        for each in [*examples, row]:
            text += f"{each['question']}\n"
            text += "".join(
                f"{letter}. {choice}\n" for letter, choice in zip("ABCD", each["choices"], strict=True)
            )
            text += "Answer:" if each is row else f"Answer: {'ABCD'[each['answer']]}\n\n"
        for letter, request in zip("ABCD", prompt.requests, strict=True):
            context, continuation = request.args
            assert context.endswith(text), "after the harness's own words about the subject"
            assert context.count("Answer:") == 6
            assert continuation == f" {letter}"
        assert prompt.gold == (prompt.requests[0].args[0], f" {'ABCD'[row['answer']]}")


def test_gsm8k_prompts_begin_alike_with_five_examples(files):
    task = load("gsm8k", files.write())
    beginning = "".join(
        f"Question: {each['question']}\nAnswer: {each['answer']}\n\n"
        for each in files.rows["gsm8k_train_fewshot.jsonl"]
    )
    rows = {row["id"]: row for row in files.rows["gsm8k_test.jsonl"]}
    for prompt in task.prompts(0, len(task.items)):
        row = rows[prompt.item.id]
        (request,) = prompt.requests
        assert request.args[0] == f"{beginning}Question: {row['question']}\nAnswer:"
        assert request.args[1]["until"] == ["Question:", "</s>", "<|im_end|>"]
        assert prompt.gold == (request.args[0], f" {row['answer']}")


@pytest.mark.parametrize("name", ["mmlu", "gsm8k", "capitals"])
def test_a_prompt_does_not_hang_on_which_others_were_asked_before(files, own, name):
    shots = CHOOSING + "fewshot_split: test\nnum_fewshot: 2\n" + ACCURACY
    own_tasks = own(shots, CAPITALS) if name == "capitals" else None
    task, other = (load(name, files.write(), own_tasks=own_tasks) for _ in range(2))
    whole = asked(task)
    assert asked(task) == whole, "nor on how often"
    for place in (4, 1, 3):
        (prompt,) = other.prompts(place, 1)
        assert [request.args[0] for request in prompt.requests] == whole[prompt.item.id]


def test_prompts_come_in_the_order_of_the_items_whatever_their_subjects(files):
    task = load("mmlu", files.write())
    assert [prompt.item for prompt in task.prompts(5, 7)] == list(task.items[5:12])
    assert [prompt.item for prompt in task.prompts(15, 100)] == list(task.items[15:])


# --- the order ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mmlu", "gsm8k"])
def test_the_order_and_the_digests_do_not_hang_on_the_order_of_the_rows(files, name):
    task = load(name, files.write())
    files.rows[f"{name}_test.jsonl"].reverse()
    turned = load(name, files.write())
    assert order(turned) == order(task)
    assert asked(turned) == asked(task)
    assert turned.data_digest == task.data_digest
    assert turned.definition_digest == task.definition_digest


def test_any_first_part_has_every_subject_in_proportion(files):
    task = load("mmlu", files.write())
    for size in (3, 6, 9, 12, 15):
        counts = {}
        for item in task.items[:size]:
            counts[item.subject] = counts.get(item.subject, 0) + 1
        assert all(abs(count - size / 3) <= 1 for count in counts.values()) and len(counts) == 3


def test_max_items_takes_the_first_of_the_order_as_the_whole_set(files):
    task, part = load("mmlu", files.write()), load("mmlu", files.write(), max_items=7)
    assert order(part) == order(task)[:7]
    whole = asked(task)
    assert asked(part) == {item: whole[item] for item in order(part)}
    assert part.data_digest != task.data_digest
    assert order(load("mmlu", files.write(), max_items=1000)) == order(task)


def test_a_name_that_is_there_twice_is_one_task(files):
    assert [task.name for task in load_tasks(["gsm8k", "mmlu", "gsm8k"], folder=files.write())] == [
        "gsm8k",
        "mmlu",
    ]


# --- the digests --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "change"),
    [
        ("mmlu", "mmlu_test.jsonl", {"question": "Brindle keeps 9 units. How many has she?"}),
        ("mmlu", "mmlu_test.jsonl", {"answer": 3}),
        ("mmlu", "mmlu_test.jsonl", {"id": "anatomy-test-00"}),
        ("mmlu", "mmlu_dev.jsonl", {"choices": ["1 unit", "2 units", "3 units", "4 unitz"]}),
        ("gsm8k", "gsm8k_test.jsonl", {"answer": "#### 13"}),
        ("gsm8k", "gsm8k_train_fewshot.jsonl", {"question": "Ilse had 30 lamps and lit two mote."}),
    ],
)
def test_the_data_digest_changes_with_one_letter_and_the_definitions_does_not(files, name, file, change):
    task = load(name, files.write())
    files.rows[file][0] |= change
    changed = load(name, files.write())
    assert changed.data_digest != task.data_digest
    assert changed.definition_digest == task.definition_digest


def test_a_changed_prompt_changes_the_definition_digest_and_not_the_datas(own):
    task = load("capitals", None, own_tasks=own(CHOOSING + ACCURACY, CAPITALS))
    changed = load(
        "capitals",
        None,
        own_tasks=own((CHOOSING + ACCURACY).replace("{{{{text}}}}", "Say: {{{{text}}}}"), CAPITALS),
    )
    assert changed.definition_digest != task.definition_digest
    assert changed.data_digest == task.data_digest


def test_asking_changes_no_digest(files):
    for task in load_tasks(["mmlu", "gsm8k"], folder=files.write()):
        digests = task.definition_digest, task.data_digest
        (prompt, *_) = task.prompts(0, 2)
        task.right(prompt, [(-1.0, False)] * 4 if task.chooses else ["#### 1"])
        assert (task.definition_digest, task.data_digest) == digests


# --- margins ------------------------------------------------------------------------------


def test_margins_are_the_measures_own_and_else_the_defaults(files):
    margins = {"mmlu.accuracy": 0.01, "gsm8k.log-likelihood": 0.2}
    mmlu, gsm8k = load_tasks(["mmlu", "gsm8k"], folder=files.write(), margins=margins)
    assert (mmlu.accuracy_margin, mmlu.log_likelihood_margin) == (0.01, 0.05)
    assert (gsm8k.accuracy_margin, gsm8k.log_likelihood_margin) == (0.04, 0.2)


@pytest.mark.parametrize(
    ("measure", "margin"),
    [
        ("mmlu.accuracy", 0.0),
        ("mmlu.accuracy", -0.02),
        ("mmlu.accuracy", 2),
        ("mmlu.accuracy", float("nan")),
        ("mmlu.speed", 0.02),
        ("capitals.accuracy", 0.02),
    ],
)
def test_a_margin_that_is_none_or_of_no_task_is_refused(files, measure, margin):
    message = refused("mmlu", files.write(), margins={measure: margin})
    assert "LIFT_EVALUATION_MARGINS" in message and f"{measure}=" in message


# --- what is refused ----------------------------------------------------------------------


def test_an_unknown_task_is_named_with_the_settings(files):
    message = refused("mlmu", files.write())
    for word in ("'mlmu'", "LIFT_EVALUATION_TASKS", "LIFT_EVALUATION_TASKS_DIR"):
        assert word in message


def test_too_few_examples_of_a_subject_are_counted(files):
    files.rows["mmlu_dev.jsonl"] = files.rows["mmlu_dev.jsonl"][:-1]
    message = refused("mmlu", files.write())
    assert "mmlu_dev.jsonl" in message and "4 examples of mmlu_virology" in message


def test_a_subject_with_examples_only_is_not_asked(files):
    kept = [row for row in files.rows["mmlu_test.jsonl"] if row["subject"] != "virology"]
    files.rows["mmlu_test.jsonl"] = kept
    task = load("mmlu", files.write())
    assert {item.subject for item in task.items} == {"mmlu_anatomy", "mmlu_astronomy"}


def test_too_few_examples_of_gsm8k_are_counted(files):
    files.rows["gsm8k_train_fewshot.jsonl"] = files.rows["gsm8k_train_fewshot.jsonl"][:4]
    message = refused("gsm8k", files.write())
    assert "gsm8k_train_fewshot.jsonl" in message and "4 examples" in message


def test_a_subject_that_the_harness_does_not_have_is_named(files):
    for name in ("mmlu_test.jsonl", "mmlu_dev.jsonl"):
        for row in files.rows[name]:
            row["subject"] = row["subject"].replace("virology", "virologie")
    message = refused("mmlu", files.write())
    assert "virologie" in message and "anatomy" not in message


@pytest.mark.parametrize(
    "rows",
    [
        "{broken",
        [*CAPITALS, CAPITALS[0]],
        [],
    ],
    ids=["no JSON", "an id twice", "no rows"],
)
def test_own_data_that_is_broken_is_refused_with_the_tasks_name(own, rows):
    assert "'capitals'" in refused("capitals", None, own_tasks=own(CHOOSING + ACCURACY, rows))


def test_a_task_of_a_kind_that_gives_no_right_and_wrong_answers_is_refused(own):
    yaml = CHOOSING.replace("multiple_choice", "loglikelihood_rolling").replace(
        "doc_to_choice: options\n", ""
    )
    message = refused("capitals", None, own_tasks=own(yaml, CAPITALS))
    assert "'capitals'" in message and "loglikelihood_rolling" in message


def test_a_task_that_puts_its_choices_before_the_blank_is_refused(own):
    """As winogrande does: the choices are contexts, and each is followed by one and the same text."""
    yaml = CHOOSING.replace('"{{{{text}}}}"', "label").replace("doc_to_target: label", "doc_to_target: text")
    message = refused("capitals", None, own_tasks=own(yaml + ACCURACY, CAPITALS))
    assert "'capitals'" in message and "contexts" in message


# --- own tasks ----------------------------------------------------------------------------


def test_an_own_task_has_chance_by_its_number_of_choices(own):
    rows = [*CAPITALS[:3], *({**row, "options": ["on", "off"], "label": 0} for row in CAPITALS[3:])]
    task = load("capitals", None, own_tasks=own(CHOOSING + ACCURACY, rows))
    assert sorted(order(task)) == [f"c{n}" for n in range(6)]
    assert task.chooses and task.chance == pytest.approx((3 / 3 + 3 / 2) / 6)
    (prompt,) = [each for each in task.prompts(0, 6) if each.item.id == "c1"]
    assert [request.args for request in prompt.requests] == [
        ("The lamp of town 1 is", f" {color}") for color in ("red", "green", "blue")
    ]
    assert prompt.gold == ("The lamp of town 1 is", " green")


def test_chance_of_the_shipped_tasks(files):
    mmlu, gsm8k = load_tasks(["mmlu", "gsm8k"], folder=files.write())
    assert (mmlu.chooses, mmlu.chance) == (True, 0.25)
    assert (gsm8k.chooses, gsm8k.chance) == (False, 0.0)


def test_items_without_an_id_are_told_apart(own):
    rows = [{key: value for key, value in row.items() if key != "id"} for row in CAPITALS]
    task = load("capitals", None, own_tasks=own(CHOOSING + ACCURACY, rows))
    assert len(set(order(task))) == len(CAPITALS)


def test_an_own_task_without_metrics_is_scored_by_the_harnesss_usual_one(own):
    task = load("capitals", None, own_tasks=own(CHOOSING, CAPITALS))
    (prompt,) = [each for each in task.prompts(0, 6) if each.item.id == "c1"]
    assert task.right(prompt, [(-3.0, False), (-1.0, False), (-2.0, False)])
    assert not task.right(prompt, [(-1.0, False), (-3.0, False), (-2.0, False)])


@pytest.mark.parametrize("answer", [12, "12", ["12", "twelve"]], ids=["number", "text", "several"])
def test_an_own_open_task_has_a_gold_answer_of_any_form(own, answer):
    rows = [{"id": f"s{n}", "question": f"{n} + {12 - n} =", "answer": answer} for n in range(3)]
    task = load("sums", None, own_tasks=own(WRITING, rows))
    for prompt in task.prompts(0, 3):
        assert prompt.gold == (prompt.requests[0].args[0], " 12")
        assert task.right(prompt, ["12"]) and not task.right(prompt, ["13"])
