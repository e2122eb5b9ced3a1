"""An adapter against its base: who is asked what and how often, until a look has decided."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from lift_core.evaluation.forgetting_tasks import Item
from lift_core.evaluation.guarding import Side, measure_task, plan_of
from lift_core.evaluation.statistics.looks import plan_looks
from lift_core.evaluation_records import ItemResult

PLAN = plan_looks((100, 200, 400))


@dataclass
class FakeTask:
    """A task as ``measure_task`` sees it: 400 items of two subjects by turns."""

    chooses: bool
    name: str = "task"
    accuracy_margin: float = 0.1
    log_likelihood_margin: float = 0.05

    @property
    def items(self):
        return tuple(Item(f"i{n}", ("even", "odd")[n % 2], n) for n in range(400))

    @property
    def chance(self):
        return 0.25 if self.chooses else 0.0


class FakeMeasuring:
    """Results in memory instead of a registry and a store; it notes what it is asked, and of whom."""

    def __init__(self, results, done=0):
        self.known = results
        self.done = done
        self.asked = []
        self.models = []

    def measure(self, task, model, upto, on_progress):
        self.asked.append((self.done, upto))
        self.models.append(model)
        self.done = upto
        on_progress(upto)

    def results(self, items):
        assert items <= self.done, "nobody gets results of what was not asked"
        return self.known[:items]


class Sides:
    """Base and adapter, with whose turn it is."""

    def __init__(self, task, base, adapter, base_done=0):
        self.turns = []
        self.task = task
        self.progress = []
        self.base = self.side("base", base, base_done)
        self.adapter = self.side("adapter", adapter, 0)

    def side(self, name, results, done):
        @contextmanager
        def active():
            self.turns.append(name)
            yield

        measuring = {asks: FakeMeasuring(values, done) for asks, values in results.items()}
        return Side(name, active, f"scorer of {name}", f"writer of {name}", measuring)

    def measure(self, plan=PLAN):
        return measure_task(
            self.task, self.base, self.adapter, plan, lambda *what: self.progress.append(what)
        )

    def asked(self):
        return {
            (side.name, asks): measuring.asked
            for side in (self.base, self.adapter)
            for asks, measuring in side.measuring.items()
        }


def results(right=None, likelihood=None, items=400):
    """``right`` and ``likelihood`` say what item number n got."""
    return [
        ItemResult(
            item=f"i{n}",
            right=right(n) if right else None,
            gold_log_likelihood=likelihood(n) if likelihood else None,
        )
        for n in range(items)
    ]


def open_answers(right, likelihood):
    return {"likelihood": results(likelihood=likelihood), "answers": results(right=right)}


def choices(right, likelihood):
    return {"both": results(right, likelihood)}


def usual(n):
    """A log-likelihood with some spread over the items."""
    return -1.0 - (n % 7) / 10


def lower(n):
    return usual(n) - 0.2 - (n % 3) / 100


def half_right(n):
    return n % 4 < 2


def fewer_right(n):
    return n % 4 < 1


def never_right(n):
    return False


MAKE = {True: choices, False: open_answers}
BOTH_KINDS = pytest.mark.parametrize("chooses", [True, False], ids=["choices", "open answers"])


@BOTH_KINDS
def test_it_stops_at_the_first_look_that_finds_a_regression(chooses):
    make = MAKE[chooses]
    sides = Sides(FakeTask(chooses), make(half_right, usual), make(fewer_right, usual))
    measurements, _ = sides.measure()
    accuracy, likelihood = measurements
    assert (accuracy.verdict, accuracy.n, accuracy.measure) == ("regressed", 100, "accuracy")
    assert (accuracy.base, accuracy.adapter) == (0.5, 0.25)
    assert accuracy.difference == pytest.approx(-0.25)
    assert (likelihood.n, likelihood.measure) == (100, "log-likelihood")
    assert set(map(tuple, sides.asked().values())) == {((0, 100),)}


@BOTH_KINDS
def test_it_stops_at_the_first_look_that_finds_no_loss(chooses):
    make = MAKE[chooses]
    sides = Sides(FakeTask(chooses), make(half_right, usual), make(half_right, usual))
    measurements, _ = sides.measure()
    assert [(each.verdict, each.n) for each in measurements] == [("pass", 100)] * 2
    assert set(map(tuple, sides.asked().values())) == {((0, 100),)}


@BOTH_KINDS
def test_it_goes_on_while_it_is_undecided_and_asks_only_what_is_missing(chooses):
    make = MAKE[chooses]
    # No item changes, but a hundred of them cannot show that no more than two points were lost.
    task = FakeTask(chooses, accuracy_margin=0.02)
    sides = Sides(task, make(half_right, usual), make(half_right, usual))
    measurements, _ = sides.measure()
    assert (measurements[0].verdict, measurements[0].n) == ("pass", 400)
    assert set(map(tuple, sides.asked().values())) == {((0, 100), (100, 200), (200, 400))}


@BOTH_KINDS
def test_undecided_at_the_last_look_stays_undecided(chooses):
    make = MAKE[chooses]
    task = FakeTask(chooses, accuracy_margin=0.01)
    sides = Sides(task, make(half_right, usual), make(half_right, usual))
    measurements, _ = sides.measure()
    assert (measurements[0].verdict, measurements[0].n) == ("undecided", 400)
    assert measurements[1].n == 400


def test_accuracy_decides_even_where_the_likelihood_has_not():
    wild = results(likelihood=lambda n: usual(n) + (-1) ** n * 3.0)
    base, adapter = open_answers(half_right, usual), {"likelihood": wild, "answers": results(half_right)}
    measurements, _ = Sides(FakeTask(False), base, adapter).measure()
    assert [(each.verdict, each.n) for each in measurements] == [("pass", 100), ("undecided", 100)]


# --- the floor ----------------------------------------------------------------------------


def test_a_base_that_answers_nothing_right_spares_the_adapter_its_answers():
    sides = Sides(FakeTask(False), open_answers(never_right, usual), open_answers(half_right, lower))
    measurements, by_subject = sides.measure()
    accuracy, likelihood = measurements
    assert (accuracy.verdict, accuracy.base, accuracy.adapter) == ("uninformative", 0.0, None)
    assert (accuracy.difference, accuracy.low, accuracy.high) == (None, None, None)
    assert (likelihood.verdict, likelihood.n) == ("regressed", 100)
    assert by_subject == {}
    assert sides.asked()[("adapter", "answers")] == []
    assert sides.asked()[("base", "answers")] == [(0, 100)]


def test_choices_at_chance_are_uninformative_and_the_likelihood_decides():
    sides = Sides(FakeTask(True), choices(fewer_right, usual), choices(fewer_right, lower))
    measurements, by_subject = sides.measure()
    assert [each.verdict for each in measurements] == ["uninformative", "regressed"]
    assert measurements[0].adapter == 0.25, "the choices were scored anyway"
    assert set(by_subject) == {"even", "odd"}


@BOTH_KINDS
def test_an_undecided_likelihood_asks_for_more_where_accuracy_shows_nothing(chooses):
    make = MAKE[chooses]
    # Each item changes by far more than the margin, in both directions.
    sides = Sides(
        FakeTask(chooses),
        make(never_right, usual),
        make(never_right, lambda n: usual(n) + (-1) ** (n // 2) * 3.0),
    )
    measurements, _ = sides.measure()
    assert [(each.verdict, each.n) for each in measurements] == [("uninformative", 400), ("undecided", 400)]


def test_a_base_above_the_floor_at_a_later_look_brings_the_adapters_answers_in():
    late = open_answers(lambda n: n >= 100, lambda n: usual(n) + (-1) ** (n // 2) * 3.0)
    sides = Sides(FakeTask(False), late, open_answers(never_right, usual))
    measurements, _ = sides.measure()
    assert (measurements[0].verdict, measurements[0].n) == ("regressed", 200)
    assert sides.asked()[("adapter", "answers")] == [(0, 200)]


# --- who is asked -------------------------------------------------------------------------


@BOTH_KINDS
def test_a_base_that_was_measured_before_is_not_asked_again(chooses):
    make = MAKE[chooses]
    sides = Sides(FakeTask(chooses), make(half_right, usual), make(fewer_right, usual), base_done=400)
    sides.measure()
    assert all(not asked for (side, _), asked in sides.asked().items() if side == "base")
    assert set(sides.turns) == {"adapter"}


def test_more_results_than_a_look_has_are_not_looked_at():
    # After the first hundred the adapter is always wrong; the first look must not know.
    sides = Sides(
        FakeTask(True),
        choices(half_right, usual),
        choices(lambda n: half_right(n) and n < 100, usual),
        base_done=400,
    )
    measurements, by_subject = sides.measure()
    assert (measurements[0].verdict, measurements[0].n) == ("pass", 100)
    assert sum(items for items, _, _ in by_subject.values()) == 100


def test_each_side_is_asked_while_it_is_its_turn_and_writers_only_write():
    sides = Sides(FakeTask(False), open_answers(half_right, usual), open_answers(half_right, usual))
    sides.measure()
    assert sides.turns == ["base", "adapter", "base", "adapter"]
    for side in (sides.base, sides.adapter):
        assert side.measuring["likelihood"].models == [f"scorer of {side.name}"]
        assert side.measuring["answers"].models == [f"writer of {side.name}"]


def test_progress_says_of_whom_and_out_of_how_many():
    sides = Sides(FakeTask(True), choices(half_right, usual), choices(half_right, usual))
    sides.measure()
    assert sides.progress == [
        ("task answers, base", 0, 100),
        ("task answers, base", 100, 100),
        ("task answers, adapter", 0, 100),
        ("task answers, adapter", 100, 100),
    ]


@BOTH_KINDS
def test_subjects_have_their_own_items_and_accuracies(chooses):
    make = MAKE[chooses]
    sides = Sides(FakeTask(chooses), make(lambda n: n % 2 == 0, usual), make(lambda n: n % 4 == 0, usual))
    _, by_subject = sides.measure()
    assert by_subject == {"even": (50, 1.0, 0.5), "odd": (50, 0.0, 0.0)}


# --- the plan -----------------------------------------------------------------------------


def test_the_looks_go_from_the_first_to_all_items():
    sizes = [look.items for look in plan_of(FakeTask(True), 100).looks]
    assert sizes[0] == 100 and sizes[-1] == 400 and sizes == sorted(set(sizes))


@pytest.mark.parametrize("first", [400, 3000])
def test_a_first_look_at_all_there_is_is_the_only_one(first):
    assert [look.items for look in plan_of(FakeTask(True), first).looks] == [400]
