"""Which items come first: subjects in proportion, looks within looks, the same whatever the file's order."""

from collections import Counter

import pytest

from lift_core.evaluation.statistics.sampling import stratified_order

# As uneven as MMLU: 57 subjects, from 100 to 1,534 items.
SUBJECTS = {f"subject-{number:02d}": 100 + 7 * (number % 20) for number in range(56)} | {"law": 1534}
ITEMS = {f"{subject}-{n:04d}": subject for subject, size in SUBJECTS.items() for n in range(size)}


@pytest.mark.parametrize("taken", [57, 500, 1000, 3000, 6001])
def test_every_look_has_each_subject_in_proportion(taken):
    counts = Counter(ITEMS[item] for item in stratified_order(ITEMS, seed=3)[:taken])
    for subject, size in SUBJECTS.items():
        assert abs(counts[subject] - taken * size / len(ITEMS)) < 2, subject


def test_every_item_comes_once():
    order = stratified_order(ITEMS, seed=0)
    assert len(order) == len(ITEMS)
    assert set(order) == set(ITEMS)


def test_the_order_hangs_on_the_seed_and_not_on_the_files_order():
    shuffled = dict(reversed(ITEMS.items()))
    assert stratified_order(shuffled, seed=1) == stratified_order(ITEMS, seed=1)
    assert stratified_order(ITEMS, seed=2) != stratified_order(ITEMS, seed=1)


def test_the_items_of_a_subject_are_drawn_and_not_the_first_of_the_file():
    first = stratified_order(ITEMS, seed=0)[:1000]
    numbers = [int(item[-4:]) for item in first if item.startswith("law")]
    assert min(numbers) < 300
    assert max(numbers) > 1200


def test_every_item_is_as_likely_as_any_other_to_be_among_the_first():
    """An item of a small subject and one of a large, over 4,000 seeds, in a tenth of the items."""
    items = {f"small-{n}": "small" for n in range(7)} | {f"large-{n}": "large" for n in range(93)}
    early = Counter(item for seed in range(4_000) for item in stratified_order(items, seed)[:10])
    assert early["small-0"] / 4_000 == pytest.approx(0.1, abs=0.02)
    assert early["large-0"] / 4_000 == pytest.approx(0.1, abs=0.02)


def test_without_strata_it_is_a_random_order():
    order = stratified_order({f"{n:03d}": "" for n in range(200)}, seed=0)
    assert list(order) != sorted(order)
    assert stratified_order({}, seed=0) == ()
