"""Which settings the benchmark ``factors`` tries, what their adapters learn, and its figures."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lift_core.benchmarks import factors
from lift_core.benchmarks.factors import AS_IT_IS, Factor, chosen, named, rows_of
from lift_core.benchmarks.squad import Excerpt, Written
from lift_core.errors import LiftError
from lift_core.recipes import load_recipe
from lift_core.records import JudgedPair, QAPair
from lift_core.settings import Settings


def pair(question, answer="1911", **more):
    return QAPair(segment=0, question=question, answer=answer, **more)


def judged(question, reason=None, answer="1911"):
    return JudgedPair(pair=pair(question, answer), kept=reason is None, reason=reason)


def test_each_factor_changes_one_part_of_the_recipe():
    recipe = load_recipe("embedded")
    tried = factors.factors(recipe)
    assert len({factor.name for factor in tried}) == len(tried)
    for factor in tried:
        own, others = recipe.model_dump(), factor.recipe.model_dump()
        different = [part for part in own if own[part] != others[part]]
        assert len(different) == (factor.pairs in ("kept", "new")), factor.name
        # Who writes differently needs other pairs, who learns differently must not have them.
        assert (different == ["generator"]) == (factor.pairs == "new"), factor.name


def test_the_scale_of_an_adapter_stays_with_its_rank():
    recipe = load_recipe("embedded")
    scales = {
        factor.recipe.lora.alpha / factor.recipe.lora.rank
        for factor in factors.factors(recipe)
        if factor.name.startswith("rank ")
    }
    assert scales == {recipe.lora.alpha / recipe.lora.rank}


def test_a_recipe_without_reader_and_without_model_has_fewer_factors():
    names = {factor.name for factor in factors.factors(load_recipe("smoke"))}
    assert not any(name.startswith(("no reader", "completions", "temperature")) for name in names)
    assert "no gate: all pairs" in names


def test_settings_are_chosen_by_how_their_names_begin():
    tried = factors.factors(load_recipe("embedded"))
    assert named(tried, ()) == tried
    assert [each.name for each in named(tried, ["epochs", "no reader"])] == [
        "epochs 3",
        "epochs 12",
        "no reader: what the checks keep",
    ]
    with pytest.raises(LiftError, match=r"no setting is called 'epoch 3': there are 'epochs 3'"):
        named(tried, ["epochs 3", "epoch 3"])


def test_each_gate_lets_its_pairs_be_learned():
    written = Written(
        judged=[judged("a"), judged("b", "invented"), judged("c", "malformed", "  ")],
        checked=[pair("a"), pair("b")],
        figures={},
    )
    recipe = load_recipe("embedded")
    learned = {
        kind: [each.question for each in chosen(written, Factor("", recipe, kind))]
        for kind in ("kept", "checks", "all")
    }
    assert learned == {"kept": ["a"], "checks": ["a", "b"], "all": ["a", "b"]}


def test_figures_are_differences_within_a_document():
    found = [
        {"name": "x", "n": 5, AS_IT_IS: 0.2, "rate 1": 0.3, f"pairs, {AS_IT_IS}": 10, "pairs, rate 1": 10},
        {"name": "y", "n": 5, AS_IT_IS: 0.6, "rate 1": 0.7, f"pairs, {AS_IT_IS}": 20, "pairs, rate 1": 20},
    ]
    (row,) = rows_of(found, ["rate 1"])
    assert row["difference"] == pytest.approx(0.1)
    # The documents differ by far more than the arms do within one.
    assert (row["low"], row["high"]) == pytest.approx((0.1, 0.1))
    assert (row["pairs"], row["peer pairs"]) == (15, 15)


@pytest.fixture
def three_documents(monkeypatch):
    """Three excerpts; measuring the third is interrupted."""
    monkeypatch.setattr(factors, "read_articles", lambda data: ["one", "two", "three"])
    monkeypatch.setattr(factors, "excerpt_of", lambda article, words: Excerpt(article, "", ()))
    monkeypatch.setattr(factors, "base_model_folder", lambda *_: None)

    def measure(excerpt, recipe, tried, settings, pool, said):
        if excerpt.title == "three":
            raise KeyboardInterrupt
        names = [AS_IT_IS, *(factor.name for factor in tried)]
        said("learning", len(tried))
        return {"name": excerpt.title, "n": 4} | {
            key: value for name in names for key, value in ((name, 0.5), (f"pairs, {name}", 8))
        }

    monkeypatch.setattr(factors, "_measure", measure)


def test_an_interrupt_leaves_the_documents_that_are_done(three_documents, tmp_path):
    recipe, told = load_recipe("embedded"), []
    report = factors.run(
        Settings(_env_file=None),
        tmp_path,
        recipe,
        quick=False,
        on_progress=lambda *each: told.append(each),
    )
    assert report.settings["documents"] == 2
    assert [row["name"] for row in report.details] == ["one", "two"]
    assert {row["n"] for row in report.rows} == {2}
    arms = 1 + len(factors.factors(recipe))
    assert told[-1] == ("two: learning", 2 * arms - 1, 3 * arms)


def test_an_interrupt_before_the_first_is_one(three_documents, monkeypatch, tmp_path):
    monkeypatch.setattr(factors, "read_articles", lambda data: ["three"])
    with pytest.raises(KeyboardInterrupt):
        factors.run(
            Settings(_env_file=None), tmp_path, load_recipe("embedded"), quick=False, on_progress=print
        )


def test_each_adapter_learns_its_factors_pairs_by_its_factors_recipe(monkeypatch):
    excerpt = Excerpt("Marra", "Odo kept it.", (("Who kept it?", ("Odo",)),))
    recipe = load_recipe("embedded")
    tried = factors.factors(recipe)

    def write(excerpt, recipe, settings):
        """As many pairs are kept as completions were asked for, and one more without the reader."""
        kept = [judged(str(number)) for number in range(recipe.generator.sampled)]
        return Written([*kept, judged("x", "invented")], [each.pair for each in [*kept, judged("y")]], {})

    learned = []
    monkeypatch.setattr(factors, "write_pairs", write)
    monkeypatch.setattr(
        factors, "f1_of", lambda *job: (learned.append((job[2], len(job[1]))), len(job[1]) / 100)[1]
    )
    told = []
    with ThreadPoolExecutor(2) as pool:
        row = factors._measure(excerpt, recipe, tried, None, pool, lambda *each: told.append(each))
    kept = recipe.generator.sampled
    expected = {AS_IT_IS: kept} | {
        factor.name: {
            "kept": kept,
            "checks": kept + 1,
            "all": kept + 1,
            "new": factor.recipe.generator.sampled,
        }[factor.pairs]
        for factor in tried
    }
    assert {name: row[f"pairs, {name}"] for name in expected} == expected
    assert {name: row[name] for name in expected} == {name: n / 100 for name, n in expected.items()}
    assert {factor.recipe for factor in tried} | {recipe} == {used for used, _ in learned}
    assert [done for _, done in told][-1] == 1 + len(tried)
