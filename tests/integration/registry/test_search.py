"""Which adapter answers a question: found by title and pairs, only while it serves, with its reasons."""

import pytest
from sqlalchemy import event

from lift_core.errors import LiftError, NotFoundError
from lift_core.records import QAPair
from lift_core.registry import AdapterRegistry, search

SUBJECTS = [
    f"{first}{last}"
    for first in ("brindle", "tide", "glass", "copper", "winter")
    for last in ("moth", "lamp", "organ", "clock", "heron", "ferry")
]


def pairs(*found):
    return [QAPair(segment=0, question=question, answer=answer) for question, answer in found]


@pytest.fixture
def publish(registry, work):
    """Make an active adapter that is indexed with pairs; returns its name."""

    def publish(key, *found, etag=None):
        name = work.active(key, etag=etag or key, text=f"{key} {etag}").name
        registry.index_adapter(name, pairs(*found))
        return name

    return publish


def names(registry, question, **asked):
    return [match.adapter for match in registry.which_adapters(question, **asked)]


# --- finding --------------------------------------------------------------------------------


def test_each_of_thirty_documents_is_found_by_a_question_about_it(registry, publish):
    made = {
        subject: publish(
            f"note-{number}.md",
            (f"Where does the {subject} stay in winter?", f"in shed {number}"),
            (f"Who looks after the {subject}?", f"the {SUBJECTS[number - 1]} keeper"),
        )
        for number, subject in enumerate(SUBJECTS)
    }
    assert len(made) == 30
    for subject, name in made.items():
        assert names(registry, f"In which shed does the {subject} spend the winter?")[0] == name


def test_inflected_words_and_words_of_answers_match(registry, publish):
    publish("rivers.md", ("Which river floods the valley?", "the Marra"))
    bridges = publish("bridges.md", ("Who designed the bridge?", "Odo Krell"))
    assert names(registry, "Who was designing bridges?")[0] == bridges
    assert names(registry, "Who is KRELL?") == [bridges]


def test_a_word_of_the_title_weighs_more_than_a_mention(registry, publish):
    mentions = publish("annual.md", ("Which engine is old?", "the steam engine"), ("What rusts?", "a bolt"))
    about = publish("steam.md", ("Which engine is old?", "the first engine"), ("What rusts?", "a bolt"))
    assert names(registry, "What is said about steam?") == [about, mentions]


def test_a_word_that_few_hold_decides_against_words_that_all_hold(registry, publish):
    for number in range(5):
        publish(f"contract-{number}.md", ("Who signed the contract on delivery?", f"Person {number}"))
    rare = publish("other.md", ("What does the zeppelin carry?", "mail"))
    assert names(registry, "Who signed the contract on delivery of the zeppelin?", limit=1) == [rare]


def test_why_names_the_words_of_the_question_with_weights_that_make_the_score(registry, publish):
    publish("report.md", ("Who inspected the turbines?", "Ilse Vanterpool"))
    publish("letter.md", ("Who inspected the roof?", "Odo Krell"))
    best, other = registry.which_adapters("Which inspector inspects the Turbine in Marra?")
    assert (best.adapter, best.slug, best.document, best.title) == (
        "report-v1",
        "report",
        "report.md",
        "report",
    )
    assert [each.word for each in best.why] == ["Turbine", "inspects"]
    assert [each.word for each in other.why] == ["inspects"]
    assert best.why[0].weight > best.why[1].weight > 0
    assert sum(each.weight for each in best.why) == pytest.approx(best.score, abs=0.001)
    assert best.score > other.score


def test_equals_come_oldest_first_every_time(registry, publish):
    same = ("Who guards the lighthouse of Marra at night?", "a keeper with two dogs")
    for key in ("fir", "ash", "oak", "elm"):
        publish(f"{key}.md", same)
    for _ in range(3):
        found = registry.which_adapters("Does a keeper guard the lighthouse of Marra with dogs?", limit=10)
        assert [match.slug for match in found] == ["fir", "ash", "oak", "elm"]
        assert len({match.score for match in found}) == 1


def test_no_more_than_the_limit_are_returned(registry, publish):
    for number in range(5):
        publish(f"note-{number}.md", ("Who rings the bell?", "the sexton"))
    assert len(names(registry, "Who rings the bell?")) == 3
    assert len(names(registry, "Who rings the bell?", limit=4)) == 4
    for limit in (0, 101):
        with pytest.raises(LiftError, match="1 to 100 adapters"):
            registry.which_adapters("Who rings the bell?", limit=limit)


# --- who is a candidate ---------------------------------------------------------------------


def test_only_the_adapter_that_serves_now_is_found(registry, publish):
    first = publish("report.md", ("Who rings the bell?", "the sexton"), etag="e1")
    second = publish("report.md", ("Who rings the bell?", "the mayor"), etag="e2")
    assert names(registry, "Who rings the bell?") == [second]
    assert names(registry, "sexton") == []
    registry.set_alias("report", first)
    assert names(registry, "Who rings the bell?") == [first]
    assert names(registry, "mayor") == []
    registry.quarantine(first, "it lies")
    assert names(registry, "Who rings the bell?") == [second]
    registry.quarantine(second, "it lies too")
    assert names(registry, "Who rings the bell?") == []


def test_an_adapter_that_only_another_label_names_is_not_found(registry, publish):
    first = publish("report.md", ("Who rings the bell?", "the sexton"), etag="e1")
    registry.set_alias("report@stable", first)
    second = publish("report.md", ("Who rings the bell?", "the mayor"), etag="e2")
    assert registry.adapter(first).state == "active"
    assert names(registry, "Who rings the bell?") == [second]


def test_an_adapter_that_is_indexed_before_it_serves_is_found_once_it_does(registry, work):
    candidate = work.proven(work.claim())
    registry.index_adapter(candidate.name, pairs(("Who rings the bell?", "the sexton")))
    assert names(registry, "Who rings the bell?") == []
    registry.activate(candidate.name)
    assert names(registry, "Who rings the bell?") == [candidate.name]


# --- the index ------------------------------------------------------------------------------


def test_indexing_again_changes_nothing(registry, publish, contents):
    found = [("Who rings the bell, the bell?", "the sexton"), ("Where is the bell?", "in Marra")]
    name = publish("report.md", *found)
    before = contents()
    registry.index_adapter(name, pairs(*found))
    assert contents() == before


def test_other_pairs_replace_the_first_ones(registry, publish):
    name = publish("report.md", ("Who rings the bell?", "the sexton"))
    registry.index_adapter(name, pairs(("Who winds the clock?", "the mayor")))
    assert names(registry, "sexton") == []
    assert names(registry, "clock") == [name]
    assert names(registry, "report") == [name]


def test_the_index_stays_as_it_was_where_the_pairs_cannot_be_read(registry, publish, contents):
    name = publish("report.md", ("Who rings the bell?", "the sexton"))
    before = contents()

    def broken():
        yield from pairs(("Who winds the clock?", "the mayor"))
        raise OSError("the store is away")

    with pytest.raises(OSError, match="the store is away"):
        registry.index_adapter(name, broken())
    assert contents() == before


def test_processes_that_index_one_adapter_at_once_leave_it_indexed_once(registry, work, together, contents):
    name = work.active().name
    found = pairs(*((f"Who rings bell {number}?", f"sexton {number}") for number in range(50)))
    registry.index_adapter(name, found)
    before = contents()
    together(8, lambda _: registry.index_adapter(name, found))
    assert contents() == before


def test_every_mention_counts_however_many_and_wherever_it_stands(registry, publish, sql):
    answer = " ".join(["bell"] * 40_000 + [f"filler{number}" for number in range(20_000)] + ["bell"] * 7)
    name = publish("report.md", ("Who rings?", answer))
    found = dict(
        sql(
            "SELECT lexeme, frequency FROM search_lexemes JOIN adapters ON id = adapter_id WHERE name = %s",
            name,
        )
    )
    assert found["bell"] == 40_007
    assert found["filler19999"] == 1
    assert len(found) == 20_000 + len({"bell", "ring", "report"})
    assert sql("SELECT length FROM search_entries") == [(sum(found.values()),)]


def test_an_answer_of_megabytes_without_a_blank_is_indexed_as_far_as_it_has_words(registry, publish):
    name = publish(
        "report.md", ("Who rings the bell?", "x" * 3_000_000), ("Where?", "a," * 1_500_000 + "end")
    )
    assert names(registry, "Who rings the bell?") == [name]


def test_an_adapter_without_pairs_is_found_by_its_title(registry, publish):
    name = publish("lighthouse.md")
    assert names(registry, "Where is the lighthouse?") == [name]


def test_an_adapter_that_is_not_there_is_not_indexed(registry):
    with pytest.raises(NotFoundError, match="there is no adapter 'report-v1' to index"):
        registry.index_adapter("report-v1", pairs(("Who rings the bell?", "the sexton")))


# --- odd questions --------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["", " \n", "?!", "who is it and what was that?", "zeppelin", "\0"])
def test_a_question_without_a_word_that_matches_finds_nothing(registry, publish, question):
    publish("report.md", ("Who is it and what was that?", "the sexton"))
    assert names(registry, question) == []


def test_an_empty_registry_finds_nothing(registry):
    assert registry.which_adapters("Who rings the bell?") == []


def test_nul_and_halves_of_characters_do_no_harm(registry, publish):
    name = publish("report.md", ("Who\0rings the \ud800 bell?", "the\0sexton"))
    assert names(registry, "the\0sexton \udcff?") == [name]


def test_operators_and_quotes_are_only_words(registry, publish):
    name = publish("report.md", ("Who rings the bell?", "the sexton"))
    assert names(registry, "bell' & ! (sexton | <-> :* \\ %s %(x)s :name -- ;") == [name]


def test_a_question_of_thousands_of_words_is_answered_and_a_longer_one_refused(registry, publish):
    name = publish("report.md", ("Who rings the bell?", "the sexton"))
    assert names(registry, f"{'word ' * 1900} bell") == [name]
    with pytest.raises(LiftError, match=r"the question has 10,001 characters; the limit is 10,000"):
        registry.which_adapters("x" * 10_001)


# --- common words ---------------------------------------------------------------------------


def test_words_that_too_many_hold_are_left_out_while_a_rarer_one_is_there(registry, publish, monkeypatch):
    monkeypatch.setattr(search, "_POSTINGS", 4)
    for number in range(6):
        publish(f"note-{number}.md", ("Who signed the contract?", f"Person{number}"))
    (best,) = registry.which_adapters("Was the contract signed by person3?")
    assert (best.slug, [each.word for each in best.why]) == ("note-3", ["person3"])


def test_a_word_that_too_many_hold_is_looked_for_where_there_is_no_rarer_one(registry, publish, monkeypatch):
    monkeypatch.setattr(search, "_POSTINGS", 4)
    for number in range(6):
        publish(f"note-{number}.md", ("Who signed the contract?", f"Person{number}"))
    assert len(names(registry, "the contract of a zeppelin", limit=10)) == 6


def test_one_question_is_one_transaction(registry, publish, settings):
    publish("report.md", ("Who rings the bell?", "the sexton"))
    other = AdapterRegistry.from_settings(settings, pool_size=1)
    began = []
    event.listen(other._engine, "begin", began.append)
    assert names(other, "Who rings the bell?")
    assert len(began) == 1
    other._engine.dispose()
