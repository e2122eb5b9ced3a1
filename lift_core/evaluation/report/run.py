"""The page of a whole run: every adapter that was judged, and those that could not be measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from lift_core.evaluation.report import html_page, markdown_page, plots, words
from lift_core.evaluation.report.blocks import (
    Block,
    Code,
    Folded,
    Heading,
    Mark,
    Page,
    Paragraph,
    Part,
    Plot,
    Table,
    Words,
)
from lift_core.evaluation_records import AdapterVerdict, Verdict


def render_run(
    run: str, verdicts: Sequence[AdapterVerdict], unmeasured: Mapping[str, str]
) -> dict[str, bytes]:
    """The report on a run of the guard: content by file name.

    ``report.html`` stands alone; ``report.md`` shows ``family.svg``, which is there if any adapter was
    judged. ``unmeasured`` says of each adapter without a verdict why it has none. Equal arguments give
    equal bytes, in whatever order the verdicts come.
    """
    ordered = sorted(verdicts, key=lambda each: (not each.alerted, each.adjusted_p_value, each.adapter))
    files: dict[str, bytes] = {}
    if ordered:
        files["family.svg"] = plots.family(ordered, words.rate(ordered[0].policy))
    blocks = [*_summary(run, ordered, unmeasured), *_judged(ordered), *_unmeasured(unmeasured)]
    if ordered:
        rows = [((Code(name),), (Code(value),)) for name, value in words.flat(ordered[0].policy).items()]
        blocks.append(Folded("Policy", [Table(("setting", "value"), rows)]))
    page = Page(f"Forgetting guard, run {run}", blocks, files)
    return {"report.html": html_page.write(page), "report.md": markdown_page.write(page), **files}


def _summary(run: str, verdicts: Sequence[AdapterVerdict], unmeasured: Mapping[str, str]) -> Iterator[Block]:
    if not verdicts and not unmeasured:
        yield Paragraph(["Run ", Code(run), " had no adapter to measure: none was due."])
        return
    found = Counter(each.verdict for each in verdicts)
    order: tuple[Verdict, ...] = ("regressed", "undecided", "uninformative", "pass")
    said: list[Part] = [f"{words.count(len(verdicts), 'adapter')} judged"]
    for verdict in order:
        if found[verdict]:
            said += [", " if len(said) > 1 else ": ", f"{found[verdict]:,} ", Mark(verdict)]
    said.append(".")
    if unmeasured:
        said.append(f" {words.count(len(unmeasured), 'adapter')} could not be measured.")
    yield Paragraph(said)
    if verdicts:
        alerts = words.count(sum(each.alerted for each in verdicts), "alert")
        yield Paragraph([f"{alerts}, {words.at_rate(verdicts[0].policy)}: {_ALERTS}"])


_ALERTS = (
    "on average at most that share of a run's alerts is false, within the adapters of one base model. A "
    "verdict stands with or without an alert."
)


def _judged(verdicts: Sequence[AdapterVerdict]) -> Iterator[Block]:
    if not verdicts:
        return
    yield Heading("Judged")
    if len(verdicts) > plots.MOST_ROWS:
        yield Paragraph([f"The plot shows the first {plots.MOST_ROWS} of the table."])
    yield Plot("family.svg", "Adjusted p-values against the false discovery rate, as in the table")
    columns = ("adapter", "verdict", "alert", "action", "p", "adjusted p", "base model", "why")
    yield Table(columns, [_row(each) for each in verdicts])
    for verdict in get_args(Verdict):
        if verdict != "pass" and any(each.verdict == verdict for each in verdicts):
            yield Paragraph([Mark(verdict), f": {words.MEANINGS[verdict]}"])
    yield Paragraph(["Each adapter has a report of its own in this run."])


def _row(verdict: AdapterVerdict) -> Sequence[Words]:
    return (
        (Code(verdict.adapter),),
        (Mark(verdict.verdict),),
        ("yes" if verdict.alerted else "no",),
        (verdict.action,),
        (words.p_value(verdict.p_value),),
        (words.p_value(verdict.adjusted_p_value),),
        (verdict.base_model,),
        (verdict.sentence,),
    )


def _unmeasured(unmeasured: Mapping[str, str]) -> Iterator[Block]:
    if not unmeasured:
        return
    yield Heading("Not measured")
    yield Paragraph(["These adapters have no verdict from this run. That is not a pass."])
    yield Table(("adapter", "reason"), [((Code(name),), (why,)) for name, why in sorted(unmeasured.items())])
