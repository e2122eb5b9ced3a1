"""The simulation: errors within the level, drops found, and the fast mode's size read off its result."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lift_core.benchmarks import Report
from lift_core.benchmarks.forgetting import (
    DESIGN_DISCORDANCE,
    DESIGN_DROP,
    MMLU,
    PAIRS,
    POWER,
    Scenario,
    draw,
    fast_mode_items,
    simulate,
)
from lift_core.evaluation.statistics.looks import FAST_MODE_ITEMS, ONE_SIDED_LEVEL, look_sizes

COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "benchmarks" / "forgetting.json"


def tried(powers, discordance=DESIGN_DISCORDANCE):
    return [
        {"name": "first look", "items": items, "discordance": discordance, "power at first look": power}
        for items, power in powers.items()
    ]


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
@pytest.mark.parametrize("sizes", [(1000,), (250, 500, 1000), (500, 1000, 2000, 4000)])
def test_a_drop_at_the_margin_is_called_wrongly_with_the_level_on_either_side(sizes, spending):
    """20,000 pairs: four standard errors are 0.0044."""
    found = simulate(Scenario(sizes, drop=0.02, discordance=0.2, spending=spending), pairs=20_000, seed=1)
    assert found.regressed == pytest.approx(ONE_SIDED_LEVEL, abs=0.0044)
    assert found.passed == pytest.approx(ONE_SIDED_LEVEL, abs=0.0044)


def test_a_healthy_adapter_hardly_ever_alarms_and_a_damaged_one_hardly_ever_passes():
    looks = look_sizes(FAST_MODE_ITEMS, MMLU)
    healthy = simulate(Scenario(looks, drop=0.0, discordance=0.2), pairs=2_000, seed=2)
    damaged = simulate(Scenario(looks, drop=0.05, discordance=0.2), pairs=2_000, seed=3)
    assert healthy.regressed < 0.002 < 0.98 < healthy.passed
    assert damaged.passed < 0.002 < 0.98 < damaged.regressed
    assert damaged.mean_items < healthy.mean_items < MMLU


def test_the_fast_mode_finds_the_designs_drop_with_its_power():
    scenario = Scenario(look_sizes(FAST_MODE_ITEMS, MMLU), DESIGN_DROP, DESIGN_DISCORDANCE)
    found = simulate(scenario, pairs=10_000, seed=4)
    assert found.regressed_at_once > POWER - 0.01


def test_every_pair_ends_somewhere_and_the_same_seed_repeats_it():
    scenario = Scenario((500, 1000), drop=0.01, discordance=0.1, base_accuracy=0.3)
    found = simulate(scenario, pairs=500, seed=5)
    assert found.passed + found.regressed + found.undecided + found.uninformative == pytest.approx(1)
    assert found == simulate(scenario, pairs=500, seed=5)
    assert found != simulate(scenario, pairs=500, seed=6)


def test_a_base_at_chance_never_passes():
    for drop in (0.0, 0.05):
        found = simulate(Scenario((1000, 4000), drop, 0.2, base_accuracy=0.25), pairs=500, seed=7)
        assert found.uninformative == 1


def test_a_pair_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="no pair of base and adapter"):
        simulate(Scenario((100,), drop=0.3, discordance=0.1), pairs=1, seed=0)


def test_the_fast_modes_size_is_the_least_from_which_on_the_power_holds():
    powers = {1000: 0.5, 1500: 0.91, 2000: 0.89, 2500: 0.93, 3000: 0.97}
    assert fast_mode_items(tried(powers) + tried({500: 0.99}, discordance=0.1)) == 2500
    with pytest.raises(ValueError, match="with less than 90%"):
        fast_mode_items(tried({1000: 0.5, 1500: 0.6}))


def test_the_size_in_use_is_the_one_that_the_committed_figures_give():
    report = Report.model_validate_json(COMMITTED.read_text())
    assert report.settings["pairs"] == PAIRS
    assert fast_mode_items(report.rows) == FAST_MODE_ITEMS


def test_no_committed_error_rate_is_beyond_the_level_but_by_chance():
    """The largest of some 80 rates of 10,000 pairs lies about three standard errors (0.0047) above."""
    rows = json.loads(COMMITTED.read_text())["rows"]
    rates = [row[kind] for row in rows for kind in ("false alarms", "wrong passes") if row[kind] is not None]
    assert len(rates) > 80
    assert max(rates) < ONE_SIDED_LEVEL + 0.0065


def test_the_committed_plot_is_drawn_from_the_committed_figures():
    plot = draw(Report.model_validate_json(COMMITTED.read_text()))
    texts = [
        "".join(each.itertext()) for each in ElementTree.fromstring(plot).iter() if each.tag.endswith("text")
    ]
    assert f"of MMLU; fast mode: {FAST_MODE_ITEMS} items" in texts
    assert {"10% discordance", "20% discordance", "30% discordance"} <= set(texts)
    committed = [
        "".join(each.itertext())
        for each in ElementTree.parse(COMMITTED.with_suffix(".svg")).iter()
        if each.tag.endswith("text")
    ]
    assert committed == texts
