"""Many tests at once: an adapter over its tasks, and the adapters of one family.

A family is the adapters that one run of the guard judged against one base model. They share the items and
the base's answers, so their errors lean the same way, which the false discovery rate by Benjamini and
Hochberg (1995) allows for (Benjamini and Yekutieli 2001).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def any_of(p_values: Sequence[float]) -> float:
    """The p-value of "some of these regressed", by Bonferroni: valid however the tests depend.

    Raises:
        ValueError: there is none.
    """
    if not p_values:
        raise ValueError("an adapter that was measured on no task has no p-value")
    return min(1.0, len(p_values) * min(p_values))


def adjusted_p_values(p_values: Mapping[str, float]) -> dict[str, float]:
    """Benjamini and Hochberg's adjusted p-values of a family, by the adapters' names, in their order.

    Those at or below a rate are alerted; at most that share of the alerts is false, on average.

    Raises:
        ValueError: a p-value is not between 0 and 1.
    """
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"the p-value of {name} is {value}; it lies between 0 and 1")
    descending = sorted(p_values, key=lambda name: p_values[name], reverse=True)
    adjusted = {}
    smallest = 1.0
    for place, name in enumerate(descending):
        smallest = min(smallest, p_values[name] * len(p_values) / (len(p_values) - place))
        adjusted[name] = smallest
    return {name: adjusted[name] for name in p_values}


def alerts(p_values: Mapping[str, float], rate: float) -> tuple[str, ...]:
    """The adapters of a family to be alerted at a false discovery rate, in the family's order."""
    return tuple(name for name, value in adjusted_p_values(p_values).items() if value <= rate)
