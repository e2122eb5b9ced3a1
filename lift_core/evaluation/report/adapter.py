"""The page of one adapter: what was found, what was done, and what it rests on, most important first."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from lift_core.evaluation.report import html_page, markdown_page, plots, signs, words
from lift_core.evaluation.report.blocks import (
    Block,
    Bullets,
    Code,
    Folded,
    Heading,
    Headline,
    Mark,
    Page,
    Paragraph,
    Part,
    Plot,
    Table,
    Words,
)
from lift_core.evaluation_records import AdapterVerdict, Measurement


def render(verdict: AdapterVerdict, history: Sequence[AdapterVerdict], *, title: str) -> dict[str, bytes]:
    """The report on one adapter: content by file name.

    ``report.html`` stands alone; ``report.md`` shows the plots beside it: ``measures.svg``, ``subjects.svg``
    where there are subjects, and ``trend.svg`` from the second verdict on. ``history`` are the adapter's
    verdicts so far, with or without this one. Equal arguments give equal bytes.
    """
    timeline = _timeline(verdict, history)
    files: dict[str, bytes] = {}
    if verdict.measurements:
        files["measures.svg"] = plots.measures(verdict.measurements)
    if len(timeline) > 1:
        files["trend.svg"] = plots.trend(timeline)
    subjects: dict[str, plots.Subjects] = {task: found for task, found in verdict.subjects.items() if found}
    if subjects:
        files["subjects.svg"] = plots.subjects(subjects)
    blocks = [
        *_finding(verdict),
        *_action(verdict),
        *_measurements(verdict),
        *_subjects(subjects),
        *signs.section(verdict.signs),
        *_trend(timeline),
        *_conditions(verdict),
    ]
    page = Page(title, blocks, files)
    return {"report.html": html_page.write(page), "report.md": markdown_page.write(page), **files}


def _timeline(verdict: AdapterVerdict, history: Sequence[AdapterVerdict]) -> list[AdapterVerdict]:
    """All verdicts, oldest first, one a run."""
    by_run = {each.run: each for each in (*history, verdict)}
    return sorted(by_run.values(), key=lambda each: (each.created_at, each.run))


def _finding(verdict: AdapterVerdict) -> Iterator[Block]:
    yield Headline(verdict.verdict)
    yield Paragraph([verdict.sentence])
    yield Paragraph([words.MEANINGS[verdict.verdict]])
    yield Paragraph(
        [
            "Adapter ",
            Code(verdict.adapter),
            ", base model ",
            Code(verdict.base_model),
            ", run ",
            Code(verdict.run),
            f", {words.moment(verdict.created_at)}.",
        ]
    )


def _action(verdict: AdapterVerdict) -> Iterator[Block]:
    yield Heading("What was done")
    name = shlex.quote(verdict.adapter)
    match verdict.action:
        case "none":
            yield Paragraph(["Nothing: the adapter stays as it was."])
        case "alert":
            yield Paragraph(
                [
                    "An event was written to the registry, and nothing else: the adapter stays as it was. "
                    "To take it out of service: ",
                    Code(f"lift adapters quarantine {name} --why …"),
                ]
            )
        case "quarantine":
            yield Paragraph(
                [
                    f"{_QUARANTINED} To undo it, with your reason: ",
                    Code(f"lift adapters release {name} --why …"),
                ]
            )
        case "retrain":
            yield Paragraph(
                [
                    f"{_QUARANTINED} Its document is learned anew by a milder recipe, unless this one's was "
                    "the mildest already. To undo the quarantine, with your reason: ",
                    Code(f"lift adapters release {name} --why …"),
                ]
            )
    yield Paragraph([_alert(verdict)])


_QUARANTINED = (
    "The adapter was quarantined: it does not answer any more, and its aliases went back to the last good "
    "adapter; where there was none, they were removed."
)


def _alert(verdict: AdapterVerdict) -> str:
    family = words.count(verdict.family, "adapter")
    adjusted = words.p_value(verdict.adjusted_p_value)
    figures = (
        f"its p-value of {words.p_value(verdict.p_value)} is {adjusted} after the adjustment for a family of "
        f"{family}, and alerts go out {words.at_rate(verdict.policy)}"
    )
    if verdict.alerted:
        return f"It is among the run's alerts: {figures}."
    said = f"It is not among the run's alerts: {figures}."
    if verdict.verdict == "regressed":
        said += " The verdict stands all the same."
    return said


def _measurements(verdict: AdapterVerdict) -> Iterator[Block]:
    yield Heading("What was measured")
    if not verdict.measurements:
        yield Paragraph(["Nothing: there is no measurement under this verdict."])
        return
    yield Plot("measures.svg", _in_words(verdict.measurements))
    yield Paragraph(
        [
            "Each line is the interval of a difference, adapter minus base, with the verdict's shape at the "
            "difference itself; an arrow is an end without bound. A measure passes if its line lies right of "
            "minus the margin, and has regressed if it lies left of it."
        ]
    )
    yield Table(_COLUMNS, [_row(each, verdict) for each in verdict.measurements])
    if any(each.verdict == "uninformative" for each in verdict.measurements):
        yield Paragraph([words.MEANINGS["uninformative"], *_instead(verdict)])
    if any(each.difference is None for each in verdict.measurements):
        yield Paragraph(["A dash: the adapter was not asked, because no answer of its could change that."])
    confidence = sorted({f"{each.task} {each.confidence:.2%}" for each in verdict.measurements})
    yield Paragraph(
        [
            "p: how probable so large a drop or a larger one would be if the true drop were just the margin, "
            "with all looks paid for. McNemar's p asks whether there is any difference, however small; no "
            "verdict hangs on it. Confidence of the intervals at this look: " + ", ".join(confidence) + "."
        ]
    )


_COLUMNS = (
    *("task", "measure", "items", "base", "adapter", "difference [low, high]", "margin", "verdict", "p"),
    "McNemar's p (for readers)",
)


def _row(measured: Measurement, verdict: AdapterVerdict) -> Sequence[Words]:
    decides = (measured.task, measured.measure) in verdict.decided_by
    said: tuple[Part, ...] = (Mark(measured.verdict), ", decides") if decides else (Mark(measured.verdict),)
    return (
        (measured.task,),
        (measured.measure,),
        (f"{measured.n:,}",),
        (words.level(measured.base, measured.measure),),
        (words.level(measured.adapter, measured.measure),),
        (words.difference(measured),),
        (words.margin(measured),),
        said,
        (words.p_value(measured.p_value),),
        (words.p_value(measured.mcnemar_p_value),),
    )


def _instead(verdict: AdapterVerdict) -> Iterator[str]:
    """Where another measure of the same task speaks, because accuracy cannot."""
    silent = {each.task for each in verdict.measurements if each.verdict == "uninformative"}
    spoken = {each.task for each in verdict.measurements if each.measure == "log-likelihood"} & silent
    if spoken:
        yield f" The log-likelihood decides instead on {', '.join(sorted(spoken))}."


def _in_words(measurements: Sequence[Measurement]) -> str:
    return "Differences, adapter minus base: " + "; ".join(
        f"{each.task}, {each.measure}: {words.difference(each)}, margin {words.margin(each)}, {each.verdict}"
        for each in measurements
    )


def _subjects(tasks: dict[str, plots.Subjects]) -> Iterator[Block]:
    if not tasks:
        return
    yield Heading("Subject by subject")
    yield Paragraph(
        [
            "Single subjects are not judged: they have few items (in brackets) and scatter widely, and of "
            "many subjects some always look bad by chance. The plot says where to look, not what was lost."
        ]
    )
    for task, found in sorted(tasks.items()):
        if len(found) > plots.MOST_ROWS:
            cut = f"Of {len(found):,} subjects of {task} the plot shows the {plots.MOST_ROWS} that fell most."
            yield Paragraph([cut])
    number = sum(map(len, tasks.values()))
    yield Plot("subjects.svg", f"Difference in accuracy of {words.count(number, 'subject')}, sorted")
    rows = [
        ((task,), (name,), (f"{items:,}",), (f"{base:.1%}",), (f"{adapter:.1%}",), (_points(adapter - base),))
        for task, found in sorted(tasks.items())
        for name, (items, base, adapter) in plots.fallen_first(found)
    ]
    columns = ("task", "subject", "items", "base", "adapter", "difference")
    yield Folded("Every subject in figures", [Table(columns, rows)])


def _points(difference: float) -> str:
    return f"{words.signed(100 * difference, 'accuracy')} points"


def _trend(timeline: Sequence[AdapterVerdict]) -> Iterator[Block]:
    if len(timeline) < 2:
        return
    yield Heading("Over time")
    yield Plot("trend.svg", "Verdicts and differences over time, as in the table")
    yield Paragraph(
        [
            "Short bars are minus the margin. A line ends where the conditions changed: results under "
            "different ones are not comparable."
        ]
    )
    rows: list[Sequence[Words]] = [
        (
            (words.moment(each.created_at),),
            (Mark(each.verdict),),
            ("yes" if each.alerted else "no",),
            (each.action,),
            (Code(each.run),),
        )
        for each in reversed(timeline)
    ]
    yield Table(("when", "verdict", "alert", "action", "run"), rows)
    if any(each.verdict == "uninformative" for each in timeline):
        yield Paragraph([words.MEANINGS["uninformative"]])


def _conditions(verdict: AdapterVerdict) -> Iterator[Block]:
    rows = [((Code(name),), (Code(value),)) for name, value in words.flat(verdict.policy).items()]
    facts: list[Words] = [
        ("Adapter ", Code(verdict.adapter), " against base model ", Code(verdict.base_model), "."),
        (f"{words.count(verdict.family, 'adapter')} in the family, run ", Code(verdict.run), "."),
    ]
    blocks: list[Block] = [Bullets(facts)]
    blocks += [Table(("setting", "value"), rows)] if rows else [Paragraph(["No policy was recorded."])]
    yield Folded("Conditions and policy", blocks)
