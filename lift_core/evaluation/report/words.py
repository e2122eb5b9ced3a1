"""How the report says things: verdicts, figures, moments, and text from outside."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from lift_core.evaluation_records import Measure, Measurement, Verdict

SYMBOLS: dict[Verdict, str] = {"pass": "●", "regressed": "▼", "undecided": "◆", "uninformative": "□"}
"""The same shapes stand for the verdicts in the plots: colour is never the only sign."""

MEANINGS: dict[Verdict, str] = {
    "pass": "Every task lost less than its margin, or nothing. That is not the same as no difference.",
    "regressed": "At least one task lost more than its margin.",
    "undecided": (
        "The items that were asked cannot tell whether more than the margin was lost. This is not a pass."
    ),
    "uninformative": (
        "Uninformative means that nothing could be told, and is not a pass: the base model answers so few of "
        "the items right that an adapter could lose all it knows and still not fall by more than the margin."
    ),
}

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """``text`` on one line, without what XML refuses or what turns the direction of the text around it."""
    return _UNPRINTABLE.sub("\ufffd", re.sub(r"\s+", " ", text))


def shorten(text: str, length: int) -> str:
    """``text`` cleaned, and cut to ``length`` characters in its middle, so that its end can be told too."""
    text = clean(text)
    if len(text) <= length:
        return text
    tail = length // 3
    return f"{text[: length - tail - 1]}…{text[-tail:]}"


def in_units(measurement: Measurement) -> tuple[float, float, float] | None:
    """Low end, difference and high end in the measure's unit; None where the adapter was not asked."""
    low, middle, high = measurement.low, measurement.difference, measurement.high
    if low is None or middle is None or high is None:
        return None
    factor = scale(measurement.measure)
    return factor * low, factor * middle, factor * high


def scale(measure: Measure) -> float:
    """By what a difference of ``measure`` is multiplied for readers: accuracies are shown in points."""
    return 100.0 if measure == "accuracy" else 1.0


def unit(measure: Measure) -> str:
    """What differences of ``measure`` are counted in."""
    return "points" if measure == "accuracy" else "nats a token"


def level(value: float | None, measure: Measure) -> str:
    """The value of one model: a share in percent, or nats a token; a dash where it was not asked."""
    if value is None:
        return "–"
    return f"{value:.1%}" if measure == "accuracy" else f"{value:.3f}"


def signed(value: float, measure: Measure) -> str:
    """A difference, or an end of its interval, in the measure's unit but without its name."""
    if math.isinf(value):
        return "+∞" if value > 0 else "-∞"
    return f"{value:+.1f}" if measure == "accuracy" else f"{value:+.3f}"


def difference(measurement: Measurement) -> str:
    """The difference with its interval and unit; a dash where the adapter was not asked."""
    found = in_units(measurement)
    if found is None:
        return "–"
    low, middle, high = (signed(value, measurement.measure) for value in found)
    return f"{middle} [{low}, {high}] {unit(measurement.measure)}"


def margin(measurement: Measurement) -> str:
    """The drop that is still borne."""
    return f"{scale(measurement.measure) * measurement.margin:g} {unit(measurement.measure)}"


def p_value(value: float | None) -> str:
    """A p-value with two digits that count; a dash where there is none."""
    if value is None:
        return "–"
    return "<0.0001" if value < 0.0001 else f"{value:.2g}"


def percent(share: float) -> str:
    """A share, in percent without trailing noughts."""
    return f"{100 * share:g}%"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun; ``many`` is the plural where an s does not make it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(time: datetime) -> str:
    """A time to the minute, in UTC wherever the report is made."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def rate(policy: Mapping[str, object]) -> float | None:
    """The false discovery rate that alerts went out at, as a share; None where the policy does not say."""
    found = policy.get("rate")
    return float(found) if isinstance(found, (int, float)) else None


def at_rate(policy: Mapping[str, object]) -> str:
    """The same in words."""
    found = rate(policy)
    return "at a false discovery rate" + (
        " that was not recorded" if found is None else f" of {percent(found)}"
    )


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as one list of dotted names, in order of the names."""
    found: dict[str, str] = {}
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = _setting(value)
    return found


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {}:
        return "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(_setting(each) for each in value) or "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in flat(value).items())
    return f"{value:g}" if isinstance(value, float) else str(value)
