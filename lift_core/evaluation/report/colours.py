"""The colours of pages and plots, on light and on dark ground.

Those of the verdicts are from Okabe and Ito's set, which people with any colour vision can tell apart, made
darker or lighter until they stand out from the ground.
"""

from lift_core.evaluation_records import Verdict

PALETTE: dict[str, tuple[str, str]] = {
    "ground": ("#ffffff", "#121214"),
    "text": ("#18181b", "#f4f4f5"),
    "muted": ("#52525b", "#a8a8b0"),
    "line": ("#d4d4d8", "#3f3f46"),
    "shade": ("#f0f0f2", "#242428"),
    "link": ("#0369a1", "#7dd3fc"),
    "pass": ("#0072b2", "#56b4e9"),
    "regressed": ("#b33c00", "#ff8c4d"),
    "undecided": ("#9a6a00", "#e6b422"),
    "uninformative": ("#6b6b75", "#b4b4bd"),
}
"""By name: on light and on dark ground. Plots are drawn in the light ones, and a page gives them its own."""


def ink(name: str | Verdict) -> str:
    """The colour that a plot is drawn in."""
    return PALETTE[name][0]
