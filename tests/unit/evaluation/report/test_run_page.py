"""The page of a whole run: every adapter, what came of it, and what could not be measured."""

from lift_core.evaluation.report import render_run


def test_every_adapter_has_a_line_alerts_first(judged, html):
    verdicts = [
        judged("pass", adapter="healthy-v1", p_value=0.4, adjusted_p_value=0.62),
        judged("undecided", adapter="unclear-v1", p_value=0.1, adjusted_p_value=0.2),
        judged(
            *["regressed"],
            adapter="damaged-v2",
            alerted=True,
            p_value=1e-9,
            adjusted_p_value=3e-9,
            action="quarantine",
            sentence="Regressed: much was lost.",
        ),
    ]
    files = render_run("nightly", verdicts, {})
    page = html(files["report.html"])
    assert set(files) == {"report.html", "report.md", "family.svg"}
    assert page.text.startswith(
        "Forgetting guard, run nightly 3 adapters judged: 1 ▼ regressed, 1 ◆ undecided, 1 ● pass. "
        "1 alert, at a false discovery rate of 5%:"
    )
    rows = [cells for cells in page.cells if len(cells) == 8]
    base = "SmolLM2-135M-Instruct"
    assert rows[0] == ["adapter", "verdict", "alert", "action", "p", "adjusted p", "base model", "why"]
    assert rows[1] == [
        *["damaged-v2", "▼ regressed", "yes", "quarantine", "<0.0001", "<0.0001", base],
        "Regressed: much was lost.",
    ]
    assert [cells[:2] for cells in rows[2:]] == [
        ["unclear-v1", "◆ undecided"],
        ["healthy-v1", "● pass"],
    ]
    assert "▼ regressed, alert" in [words.strip() for words in page.plot_words]


def test_what_could_not_be_measured_is_named_with_its_reason_and_is_no_pass(judged, html):
    page = html(
        render_run("nightly", [judged()], {"b-v1": "no base model", "a-v1": "cut short"})["report.html"]
    )
    assert "1 adapter judged: 1 ● pass. 2 adapters could not be measured." in page.text
    assert "These adapters have no verdict from this run. That is not a pass." in page.text
    assert page.cells[page.cells.index(["adapter", "reason"]) :][1:3] == [
        ["a-v1", "cut short"],
        ["b-v1", "no base model"],
    ]


def test_a_run_that_could_measure_nothing_has_no_plot(html):
    files = render_run("nightly", [], {"a-v1": "the base model is gone"})
    assert set(files) == {"report.html", "report.md"}
    text = html(files["report.html"]).text
    assert "1 adapter could not be measured." in text and "the base model is gone" in text
    assert "none was due" not in text


def test_a_run_without_adapters_says_so(html, markdown):
    files = render_run("nightly", [], {})
    assert set(files) == {"report.html", "report.md"}
    assert html(files["report.html"]).text == (
        "Forgetting guard, run nightly Run nightly had no adapter to measure: none was due."
    )
    assert markdown(files["report.md"]).text == html(files["report.html"]).text


def test_uninformative_is_explained_once_and_counted_apart(judged, html):
    verdicts = [judged("uninformative", adapter=f"a{number}", measurements=()) for number in range(2)]
    page = html(render_run("nightly", verdicts, {})["report.html"])
    assert "2 adapters judged: 2 □ uninformative." in page.text
    assert page.text.count("Uninformative means that nothing could be told, and is not a pass") == 1
    assert "●" not in page.text


def test_of_very_many_adapters_the_plot_shows_the_first_and_says_so(judged, html):
    verdicts = [
        judged(adapter=f"a{number:03d}", adjusted_p_value=0.1 + number / 1000) for number in range(70)
    ]
    page = html(render_run("nightly", verdicts, {})["report.html"])
    assert "The plot shows the first 60 of the table." in page.text
    assert sum(len(cells) == 8 for cells in page.cells) == 71
    drawn = [words.strip() for words in page.plot_words if words.strip().startswith("a0")]
    assert drawn == [f"a{number:03d}" for number in range(60)]


def test_the_order_of_the_verdicts_does_not_matter(judged):
    verdicts = [judged(adapter=name) for name in ("c", "a", "b")]
    unmeasured = {"y": "why", "x": "why"}
    assert render_run("r", verdicts, unmeasured) == render_run(
        "r", verdicts[::-1], dict(reversed(unmeasured.items()))
    )
