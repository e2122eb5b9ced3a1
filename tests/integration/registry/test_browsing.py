"""Adapters are found by filter, page by page, by name; what is not found says why and what to do."""

import base64
from datetime import datetime, timedelta

import pytest

from lift_core.errors import LiftError
from lift_core.records import AdapterFilter, GateRecipe, Recipe, ScoreCondition
from lift_core.registry import parse_score_condition


def names(page):
    return [each.name for each in page.adapters]


def score(words):
    return (parse_score_condition(words),)


# --- filters --------------------------------------------------------------------------------


def test_an_empty_registry_lists_nothing(registry):
    page = registry.adapters()
    assert (page.adapters, page.next_cursor) == ((), None)
    assert registry.adapters(AdapterFilter(text="x", tags={"a": "b"}, scores=score("gain>0"))).adapters == ()


def test_adapters_are_listed_newest_first_without_the_removed(registry, work, listed):
    for number in range(3):
        work.active(etag=f"e{number}")
    registry.remove("report-v1")
    assert listed() == ["report-v3", "report-v2"]
    assert listed(states=("removed",)) == ["report-v1"]
    assert listed(states=("removed", "active")) == ["report-v3", "report-v1"]


def test_a_document_is_named_by_its_key_or_slug_and_not_by_their_beginning(work, listed):
    work.active("a/report.md", "e1")
    work.active("b/report.md", "e2")
    work.active("a/report.md", "e3")
    assert listed(document="report") == listed(document="a/report.md") == ["report-v2", "report-v1"]
    assert listed(document="report-2") == listed(document="b/report.md") == ["report-2-v1"]
    for other in ("repor", "report-", "report-v1", "report@champion", "", "%"):
        assert listed(document=other) == []


def test_every_state_is_a_filter(registry, work, listed):
    superseded, archived, quarantined, active = (work.active(etag=f"e{n}").name for n in range(4))
    registry.archive(archived)
    registry.quarantine(quarantined, "it lies")
    claim = work.claim(etag="e8")
    rejected = work.candidate(claim).name
    registry.reject(work.prover(claim), rejected, "it knows nothing")
    candidate = work.candidate(work.claim(etag="e9")).name
    found = {
        state: listed(states=(state,))
        for state in ("superseded", "archived", "quarantined", "active", "rejected", "candidate", "removed")
    }
    assert found == {
        "superseded": [superseded],
        "archived": [archived],
        "quarantined": [quarantined],
        "active": [active],
        "rejected": [rejected],
        "candidate": [candidate],
        "removed": [],
    }


def test_base_model_and_recipe_are_filters(make, listed):
    other = Recipe(base_model="other", gate=GateRecipe(min_pairs=9))
    one = make("one.md", "e1")
    two = make("two.md", "e2", recipe=other)
    assert listed(base_model="other") == [two]
    assert listed(base_model=Recipe().base_model) == [one]
    assert listed(base_model="oth") == []
    for length in (8, 64):
        assert listed(recipe=other.digest[:length]) == [two]
    assert set(listed(recipe=other.digest[:1])) >= {two}


@pytest.mark.parametrize("recipe", ["%", "", "_", "xyz", "A" * 8, "a" * 65, "a\n"])
def test_a_recipe_that_is_no_beginning_of_a_digest_is_refused(listed, recipe):
    with pytest.raises(LiftError, match="not the beginning of a recipe's digest"):
        listed(recipe=recipe)


def test_dates_bound_the_time_of_creation(registry, work, listed):
    first = work.active("one.md", "e1")
    second = work.active("two.md", "e2")
    at, later = first.created_at, second.created_at
    assert at < later
    assert listed(since=at) == [second.name, first.name]
    assert listed(since=later) == [second.name]
    assert listed(until=later) == [first.name]
    assert listed(until=at) == []
    assert listed(since=at, until=later) == [first.name]
    assert listed(since=later + timedelta(microseconds=1)) == []
    # The same moment in another time zone.
    assert listed(since=datetime.fromisoformat(later.isoformat()).astimezone()) == [second.name]


def test_all_tags_of_a_filter_must_be_there(make, listed):
    one = make("one.md", "e1", tags={"team": "a", "reviewed": "yes"})
    two = make("two.md", "e2", tags={"team": "a"})
    make("three.md", "e3", tags={"team": "b", "other": "a"})
    assert listed(tags={"team": "a"}) == [two, one]
    assert listed(tags={"team": "a", "reviewed": "yes"}) == [one]
    assert listed(tags={"team": "a", "reviewed": "no"}) == []
    assert listed(tags={"tea": "a"}) == listed(tags={"team": "A"}) == listed(tags={"team": "%"}) == []


def test_all_scores_of_a_filter_must_hold(make, listed):
    low = make("low.md", "e1", scores={"gain": 0.5, "only_here": 1})
    high = make("high.md", "e2", scores={"gain": 2.5, "loss": -1.0})
    assert listed(scores=score("gain>0.5")) == [high]
    assert listed(scores=score("gain>=0.5")) == [high, low]
    assert listed(scores=score("gain<2.5")) == [low]
    assert listed(scores=score("gain<=2.5")) == [high, low]
    assert listed(scores=score("gain=2.5")) == [high]
    assert listed(scores=score("gain=2.4")) == []
    assert listed(scores=score("loss < -0.5")) == [high]
    assert listed(scores=score("only_here>0")) == [low]
    assert listed(scores=score("gain>0") + score("gain<1")) == [low]
    assert listed(scores=score("gain>0") + score("loss>-2")) == [high]
    assert listed(scores=score("nobody>0")) == []


@pytest.mark.parametrize(
    ("words", "condition"),
    [
        ("gain>=1.5", ("gain", ">=", 1.5)),
        (" base_nll < -2 ", ("base_nll", "<", -2.0)),
        ("n=7", ("n", "=", 7.0)),
        ("lr<=1e-4", ("lr", "<=", 0.0001)),
    ],
)
def test_a_condition_is_read(words, condition):
    assert parse_score_condition(words) == ScoreCondition(
        score=condition[0], comparison=condition[1], value=condition[2]
    )


@pytest.mark.parametrize(
    "words",
    ["", "gain", "gain>", ">1", "gain=>1", "gain==1", "gain>x", "gain>1.2.3", "Gain>1", "gain>1 or 1"],
)
def test_what_is_no_condition_is_refused_with_an_example(words):
    with pytest.raises(LiftError, match=r"write it like gain>=1\.5"):
        parse_score_condition(words)


def test_text_is_looked_for_in_titles_word_by_word(make, listed):
    organ = make("one.md", "e1", title="The Vellmar Tide Organ")
    lamp = make("two.md", "e2", title="Brindle moth lamp, of the tide")
    assert listed(text="tide") == listed(text="TIDE") == [lamp, organ]
    assert listed(text="tide organ") == [organ]
    assert listed(text='"tide organ"') == [organ]
    assert listed(text='"organ tide"') == []
    assert listed(text="tide -organ") == [lamp]
    assert listed(text="organ or lamp") == [lamp, organ]
    assert listed(text="tid") == listed(text="zeppelin") == []
    assert listed(text="the") == [lamp, organ]


@pytest.mark.parametrize(
    "text", ["", " ", "-", '"', "'", "a & | !( :*", "\\", "%", "or", "ü'\"; --", "x" * 5000]
)
def test_no_text_is_an_error(work, listed, text):
    work.active()
    assert listed(text=text) == []


def test_a_title_that_changed_leaves_earlier_adapters_as_they_were(registry, make, listed):
    first = make("one.md", "e1", title="Steam engines")
    second = make("one.md", "e2", title="Diesel engines")
    assert listed(text="steam") == [first]
    assert listed(text="diesel") == [second]
    assert listed(text="engines") == [second, first]
    assert registry.adapter(first).title == "Steam engines"


def test_all_filters_hold_together(make, listed):
    recipe = Recipe(base_model="other")
    wanted = make("one.md", "e1", "Steam engines", recipe, {"team": "a"}, {"gain": 2.0})
    make("two.md", "e2", "Steam engines", recipe, {"team": "a"}, {"gain": 1.0})
    make("three.md", "e3", "Steam engines", recipe, {"team": "b"}, {"gain": 2.0})
    make("four.md", "e4", "Steam engines", None, {"team": "a"}, {"gain": 2.0})
    make("five.md", "e5", "Diesel engines", recipe, {"team": "a"}, {"gain": 2.0})
    all_of_it = {
        "base_model": "other",
        "recipe": recipe.digest[:8],
        "states": ("active",),
        "tags": {"team": "a"},
        "scores": score("gain>1.5"),
        "text": "steam",
    }
    assert listed(**all_of_it) == [wanted]
    assert listed(**all_of_it, document="one") == [wanted]
    assert listed(**all_of_it, document="two") == []


# --- pages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 8, 1000])
def test_pages_hold_every_adapter_once(registry, work, limit):
    made = [work.active(f"doc-{n}.md", f"e{n}").name for n in range(7)]
    seen, cursor = [], None
    while True:
        page = registry.adapters(limit=limit, cursor=cursor)
        seen.append(names(page))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [name for page in seen for name in page] == made[::-1]
    assert all(len(each) == limit for each in seen[:-1])
    assert seen[-1]


@pytest.mark.parametrize("bounded", [False, True], ids=["by id", "by time"])
def test_pages_stay_complete_while_adapters_are_added_and_moved(registry, work, bounded):
    made = [work.active(f"doc-{n}.md", f"e{n}") for n in range(6)]
    filter = AdapterFilter(since=made[0].created_at if bounded else None)
    first = registry.adapters(filter, 2)
    work.active("late.md", "late")
    registry.quarantine("doc-1-v1", "it lies")
    second = registry.adapters(filter, 2, first.next_cursor)
    work.active("later.md", "later")
    third = registry.adapters(filter, 2, second.next_cursor)
    assert names(first) + names(second) + names(third) == [f"doc-{n}-v1" for n in (5, 4, 3, 2, 1, 0)]
    assert third.next_cursor is None
    assert names(registry.adapters(filter, 2)) == ["later-v1", "late-v1"]


def test_a_filter_holds_on_every_page(registry, make):
    wanted = [make(f"doc-{n}.md", f"e{n}", tags={"even": str(n % 2 == 0)}) for n in range(8)][::2]
    filter = AdapterFilter(tags={"even": "True"})
    first = registry.adapters(filter, 3)
    second = registry.adapters(filter, 3, first.next_cursor)
    assert names(first) + names(second) == wanted[::-1]
    assert second.next_cursor is None


def encoded(text):
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "nonsense!", "ü", "1", "=", "\x00", "%", " " * 9]
    + [encoded(text) for text in ("0", "-1", "abc", "1; DROP TABLE adapters", "9" * 30, "1.5", "")],
)
def test_a_cursor_that_no_page_gave_is_refused(registry, work, cursor):
    work.active()
    with pytest.raises(LiftError, match="not the cursor of a page"):
        registry.adapters(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_of_an_impossible_size_is_refused(registry, limit):
    with pytest.raises(LiftError, match="1 to 1000 adapters"):
        registry.adapters(limit=limit)
