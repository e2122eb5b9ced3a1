"""The page of one adapter: what a reader sees, in both formats."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lift_core.evaluation.report import render

NIGHT = datetime(2026, 11, 20, 4, 12, tzinfo=UTC)
UNINFORMATIVE = "Uninformative means that nothing could be told, and is not a pass"


@pytest.fixture
def read(html, markdown):
    """The text of both formats, which is the same, and all files."""

    def page(verdict, history=(), title="The Vellmar Tide Organ"):
        files = render(verdict, history, title=title)
        text = html(files["report.html"]).text
        return text, files

    return page


def test_the_verdict_comes_first_then_what_was_done_and_then_the_figures(judged, measured, read):
    sentence = "Regressed: mmlu by accuracy, -5.1 points [-6.3, -3.9] on 6000 items, margin 2 points."
    drop = measured(verdict="regressed", difference=-0.051, low=-0.063, high=-0.039, n=6000, p_value=0.00042)
    text, files = read(
        judged("regressed", sentence=sentence, action="quarantine", measurements=(drop,), alerted=True)
    )
    assert text.startswith(f"The Vellmar Tide Organ ▼ regressed {sentence}")
    assert text.index("lift adapters release tide-organ-v3 --why …") < text.index("What was measured")
    assert set(files) == {"report.html", "report.md", "measures.svg"}


def test_the_table_has_every_figure_of_every_measure(judged, measured, html):
    measurements = (
        measured(
            verdict="regressed",
            n=6000,
            base=0.621,
            adapter=0.57,
            difference=-0.051,
            low=-0.063,
            high=-0.039,
            p_value=0.00042,
            mcnemar_p_value=3e-9,
        ),
        measured(
            "gsm8k", "log-likelihood", base=-1.2, adapter=-1.25, difference=-0.05, low=-0.08, high=-0.02
        ),
    )
    page = html(render(judged("regressed", measurements=measurements), [], title="t")["report.html"])
    assert page.cells[0][-2:] == ["p", "McNemar's p (for readers)"]
    assert page.cells[1] == [
        *["mmlu", "accuracy", "6,000", "62.1%", "57.0%", "-5.1 [-6.3, -3.9] points", "2 points"],
        *["▼ regressed, decides", "0.00042", "<0.0001"],
    ]
    assert page.cells[2] == [
        *["gsm8k", "log-likelihood", "3,000", "-1.200", "-1.250", "-0.050 [-0.080, -0.020] nats a token"],
        *["0.05 nats a token", "● pass", "0.4", "–"],
    ]
    assert "Confidence of the intervals at this look: gsm8k 98.50%, mmlu 98.50%." in page.text


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("none", "Nothing: the adapter stays as it was."),
        ("alert", "lift adapters quarantine tide-organ-v3 --why …"),
        ("quarantine", "lift adapters release tide-organ-v3 --why …"),
        ("retrain", "learned anew by a milder recipe"),
    ],
)
def test_it_says_what_was_done_and_what_one_can_do_about_it(judged, read, action, said):
    text, _ = read(judged("regressed", action=action))
    assert said in text
    assert ("lift adapters release" in text) == (action in ("quarantine", "retrain"))


def test_a_command_to_type_quotes_the_name(judged, read):
    text, _ = read(judged("regressed", action="quarantine", adapter="a; rm -r b"))
    assert "lift adapters release 'a; rm -r b' --why …" in text


def test_it_says_whether_an_alert_went_out_and_at_which_rate(judged, read):
    alerted, _ = read(judged("regressed", alerted=True, p_value=0.0001, adjusted_p_value=0.0012))
    assert "It is among the run's alerts: its p-value of 0.0001 is 0.0012 after the adjustment" in alerted
    assert "for a family of 12 adapters, and alerts go out at a false discovery rate of 5%." in alerted
    held_back, _ = read(judged("regressed", adjusted_p_value=0.08, policy={}))
    assert "It is not among the run's alerts" in held_back
    assert "at a false discovery rate that was not recorded. The verdict stands all the same." in held_back


def test_uninformative_is_explained_and_nowhere_looks_like_a_pass(judged, measured, html):
    silent = measured("gsm8k", verdict="uninformative", base=0.02, adapter=0.02, difference=0.0)
    page = html(render(judged("uninformative", measurements=(silent,)), [], title="t")["report.html"])
    assert page.text.startswith("t □ uninformative")
    assert page.text.count(UNINFORMATIVE) == 2
    assert page.cells[1][7] == "□ uninformative"
    assert "●" not in page.text + "".join(page.plot_words)
    classes = {attributes.get("class") for _, attributes in page.tags}
    assert "mark uninformative" in classes and "mark pass" not in classes


def test_where_accuracy_is_uninformative_it_says_that_the_likelihood_decides(judged, measured, read):
    measurements = (measured("gsm8k", verdict="uninformative"), measured("gsm8k", "log-likelihood"))
    text, _ = read(judged("pass", measurements=measurements, decided_by=(("gsm8k", "log-likelihood"),)))
    assert UNINFORMATIVE in text
    assert "The log-likelihood decides instead on gsm8k." in text
    assert UNINFORMATIVE not in read(judged("pass"))[0]


def test_where_the_adapter_was_not_asked_there_are_dashes_and_the_reason(judged, measured, html):
    nothing = dict.fromkeys(("adapter", "difference", "low", "high", "mcnemar_p_value"))
    silent = measured("gsm8k", verdict="uninformative", base=0.021, p_value=1.0).model_copy(update=nothing)
    speaks = measured("gsm8k", "log-likelihood")
    earlier = judged(run="r", created_at=NIGHT - timedelta(days=1), measurements=(silent, speaks))
    files = render(judged("pass", measurements=(silent, speaks)), [earlier], title="t")
    page = html(files["report.html"])
    assert page.cells[1] == [
        *["gsm8k", "accuracy", "3,000", "2.1%", "–", "–", "2 points", "□ uninformative", "1", "–"]
    ]
    assert "the adapter was not asked, because no answer of its could change that" in page.text
    assert b"the adapter was not asked" in files["measures.svg"]
    assert b"Accuracy" not in files["trend.svg"] and b"Log-likelihood" in files["trend.svg"]


@pytest.mark.parametrize("verdict", ["undecided", "uninformative"])
def test_what_is_no_pass_says_so(judged, measured, read, verdict):
    assert "not a pass" in read(judged(verdict, measurements=(measured(),)))[0]


@pytest.mark.parametrize(
    ("ends", "said", "arrows"),
    [
        ({}, "[-0.340, -0.280]", 0),
        ({"low": -math.inf}, "[-∞, -0.280]", 1),
        ({"high": math.inf}, "[-0.340, +∞]", 1),
        ({"low": -math.inf, "high": math.inf}, "[-∞, +∞]", 2),
    ],
)
def test_an_end_without_bound_is_said_and_drawn_as_an_arrow(judged, measured, read, ends, said, arrows):
    endless = measured("mmlu", "log-likelihood", "undecided", difference=-0.31, **ends)
    plots = {}
    for case, measurements in (("given", (endless,)), ("bounded", (measured("mmlu", "log-likelihood"),))):
        text, files = read(judged("undecided", measurements=measurements))
        plots[case] = files["measures.svg"].count(b'<g id="patch_')
        if case == "given":
            assert f"-0.310 {said} nats a token" in text
    assert plots["given"] - plots["bounded"] == arrows


def test_an_endless_interval_is_drawn_over_time_too(judged, measured):
    endless = measured("mmlu", "log-likelihood", "undecided", difference=-0.31, low=-math.inf, high=math.inf)
    earlier = judged(run="earlier", created_at=NIGHT - timedelta(days=9))
    files = render(judged("undecided", measurements=(endless,)), [earlier], title="t")
    plain = render(judged(), [earlier], title="t")
    assert files["trend.svg"].count(b'<g id="patch_') > plain["trend.svg"].count(b'<g id="patch_')
    assert not re.search(rb"\b(inf|nan)\b", files["trend.svg"])


def test_subjects_are_sorted_with_their_items_and_not_judged(judged, html):
    subjects = {
        "anatomy": (135, 0.6, 0.63),
        "world_religions": (171, 0.7, 0.58),
        "astronomy": (152, 0.5, 0.5),
    }
    files = render(judged(subjects={"mmlu": subjects, "gsm8k": {}}), [], title="t")
    page = html(files["report.html"])
    assert "Single subjects are not judged" in page.text
    rows = [cells for cells in page.cells if cells[0] == "mmlu" and len(cells) == 6]
    assert rows == [
        ["mmlu", "world_religions", "171", "70.0%", "58.0%", "-12.0 points"],
        ["mmlu", "astronomy", "152", "50.0%", "50.0%", "+0.0 points"],
        ["mmlu", "anatomy", "135", "60.0%", "63.0%", "+3.0 points"],
    ]
    drawn = [words for words in page.plot_words if "(" in words]
    assert [words.strip() for words in drawn] == ["world religions (171)", "astronomy (152)", "anatomy (135)"]
    assert "subjects.svg" in files


def test_of_very_many_subjects_the_plot_shows_those_that_fell_most_and_says_so(judged, html):
    subjects = {f"s{number:03d}": (40, 0.5, 0.5 - number / 1000) for number in range(200)}
    page = html(render(judged(subjects={"own": subjects}), [], title="t")["report.html"])
    assert "Of 200 subjects of own the plot shows the 60 that fell most." in page.text
    drawn = [words.strip() for words in page.plot_words if words.strip().startswith("s") and "(40)" in words]
    assert len(drawn) == 60 and drawn[0] == "s199 (40)"
    assert sum(cells[0] == "own" for cells in page.cells) == 200


@pytest.mark.parametrize("subjects", [{}, {"gsm8k": {}}])
def test_without_subjects_there_is_no_section_about_them(judged, read, subjects):
    text, files = read(judged(subjects=subjects))
    assert "ubject" not in text and "subjects.svg" not in files


def test_the_signs_are_said_in_words_and_unknown_ones_shown_as_they_are(judged, read):
    signs = {
        "own_questions": 64.0,
        "own_f1": 0.612,
        "own_base_f1": 0.094,
        "verbatim_copying": 0.031,
        "interference": 0.1875,
        "interference_questions": 48.0,
        "new_sign": 1.5,
    }
    text, _ = read(judged(signs=signs))
    assert "nothing is judged by them" in text
    assert "asked 64 questions" in text
    assert "an F1 of 0.61" in text and "an F1 of 0.09" in text
    assert "3.1% of its answers' words" in text
    assert "Of 48 questions that the base model answered wrongly" in text and "to 18.8%" in text
    assert "new_sign: 1.5" in text
    assert "own_" not in text


def test_signs_that_could_not_be_had_are_left_out(judged, read):
    assert "On its own document" not in read(judged())[0]
    text, _ = read(judged(signs={"own_questions": 1.0, "interference_questions": 0.0}))
    assert "asked 1 question about" in text
    assert "answered none wrongly" in text
    assert "F1" not in text


def test_the_trend_begins_with_the_second_verdict(judged, read):
    alone = judged()
    for history in ([], [alone]):
        text, files = read(alone, history)
        assert "Over time" not in text and "trend.svg" not in files
    text, files = read(alone, [judged("undecided", run="earlier", created_at=NIGHT - timedelta(days=9))])
    assert "trend.svg" in files
    assert text.index("2026-11-20 04:12 UTC ● pass", text.index("Over time")) < text.index(
        "2026-11-11 04:12 UTC ◆ undecided"
    )


def test_an_uninformative_verdict_in_the_past_is_explained(judged, read):
    text, _ = read(judged(), [judged("uninformative", run="r", created_at=NIGHT - timedelta(days=1))])
    assert UNINFORMATIVE in text[text.index("Over time") :]


def test_a_line_of_the_trend_ends_where_the_conditions_changed(judged):
    def drawn(fingerprint):
        policy = {"fingerprint": fingerprint}
        earlier = judged(run="r", created_at=NIGHT - timedelta(days=1), policy=policy)
        return render(judged(), [earlier], title="t")["trend.svg"].count(b'<g id="line2d_')

    assert drawn("one") - drawn("two") == 2  # accuracy and log-likelihood


def test_times_are_the_same_wherever_the_report_is_made(judged, read):
    there = NIGHT.astimezone(timezone(timedelta(hours=9)))
    assert "2026-11-20 04:12 UTC" in read(judged(created_at=there))[0]


def test_policy_and_conditions_are_there_and_folded(judged, html):
    policy = {"conditions": {"harness": "lm_eval 0.4.9"}, "rate": 0.05, "tasks": [{"looks": [3000, 6000]}]}
    page = html(render(judged(policy=policy), [], title="t")["report.html"])
    assert ["conditions.harness", "lm_eval 0.4.9"] in page.cells
    assert ["rate", "0.05"] in page.cells
    assert ["tasks", "looks 3000, 6000"] in page.cells
    details = [number for number, (tag, _) in enumerate(page.tags) if tag == "details"]
    assert len(details) == 1 and "open" not in page.tags[details[0]][1]
    assert "No policy was recorded." in html(render(judged(policy={}), [], title="t")["report.html"]).text


def test_a_verdict_without_measurements_says_so(judged, read):
    text, files = read(judged("uninformative", measurements=()))
    assert "there is no measurement" in text
    assert set(files) == {"report.html", "report.md"}
