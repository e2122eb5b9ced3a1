"""The routing benchmark: which questions it asks, who wrote the pairs, and what its figures mean."""

import asyncio
import json

import pytest

from lift_core.benchmarks import routing
from lift_core.benchmarks.routing import Article, Found, QuestionSet, interval, read_articles, rows_of, share
from lift_core.errors import LiftError, ServiceUnavailableError
from lift_core.recipes import load_recipe
from lift_core.records import JudgedPair, QAPair
from lift_core.settings import Settings
from lift_core.stack.lessons import measured_articles

PROSE = "The keeper of the lighthouse walks its stairs at night, and nobody has ever asked him why. " * 3


def write_set(folder, name, documents):
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(each) for each in documents) + "\n")


def asked(question, *answers, **more):
    return {"id": question, "question": question, "answers": list(answers), **more}


def article(number=0, questions=("Who?",), set="squad_dev"):
    return Article(set, f"{set}:{number}", "Lighthouse", PROSE, tuple(questions))


# --- documents and questions ----------------------------------------------------------------


def test_only_questions_about_the_first_paragraphs_are_asked(tmp_path):
    paragraphs = ["Odo built it.", "Ilse keeps it.", "Nobody sees it."]
    text = "\n\n".join(paragraphs)
    spans = [[text.index(each), text.index(each) + len(each)] for each in paragraphs]
    document = {
        "doc_id": "squad:x",
        "title": "Light_house",
        "context": text,
        "paragraph_spans": spans,
        "qas": [asked(f"Q{number}?", "it", paragraph=number) for number in range(3)],
    }
    write_set(tmp_path, "squad_dev", [document])
    (found,) = read_articles(tmp_path, QuestionSet("squad_dev", documents=9, paragraphs=2))
    assert (found.title, found.text) == ("Light house", "Odo built it.\n\nIlse keeps it.")
    assert found.questions == ("Q0?", "Q1?")


def test_without_numbers_of_paragraphs_an_answer_tells_where_a_question_belongs(tmp_path):
    text = "\n\n".join(
        [
            "Authors: Krell",
            f"Abstract: It is\nVellmar that shines. {PROSE}",
            f"Marra and Vellmar Bay do not shine. {PROSE}",
        ]
    )
    document = {
        "doc_id": "covid:x",
        "title": "Light",
        "text": text,
        "qas": [
            asked("Here?", "is Vellmar that"),
            asked("There?", "Marra"),
            asked("In both?", "shine"),
            asked("Before the text?", "Krell"),
        ],
    }
    write_set(tmp_path, "covidqa", [document])
    (found,) = read_articles(tmp_path, QuestionSet("covidqa", 9, 1, begins=("Abstract:",)))
    assert found.text.startswith("Abstract: It is\nVellmar")
    assert "Marra" not in found.text
    assert found.questions == ("Here?",)


def test_the_same_documents_are_chosen_whatever_their_order(tmp_path):
    documents = [{"doc_id": f"f:{n}", "title": str(n), "text": PROSE, "qas": []} for n in range(40)]
    chosen = QuestionSet("fairytaleqa", documents=20, paragraphs=1)
    write_set(tmp_path, "fairytaleqa", documents)
    first = read_articles(tmp_path, chosen)
    write_set(tmp_path, "fairytaleqa", documents[::-1])
    assert read_articles(tmp_path, chosen) == first
    assert len(first) == 20
    assert read_articles(tmp_path, chosen, quick=True) == first[: routing.QUICK_DOCUMENTS]


def test_a_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LiftError, match=r"squad_dev\.jsonl is missing"):
        read_articles(tmp_path, routing.SETS[0])


def test_the_articles_kept_back_are_those_that_teaching_kept_back():
    ids = [f"squad:{number}" for number in range(48)]
    assert routing.kept_back(ids) == measured_articles(ids)


def test_without_a_registry_nothing_is_begun(tmp_path):
    with pytest.raises(ServiceUnavailableError, match="LIFT_DATABASE_URL"):
        routing.run(
            Settings(database_url=""), tmp_path, quick=True, with_generator=False, on_progress=lambda *_: None
        )


# --- pairs ------------------------------------------------------------------------------------


@pytest.fixture
def generator(monkeypatch):
    """A generator that writes one pair of two that is kept; the titles that it was asked about."""
    titles = []

    async def write_pairs(*, title, segments, **_):
        titles.append(title)
        for segment in segments[:1]:
            good, bad = (QAPair(segment=0, question=f"{word}?", answer="é") for word in ("good", "bad"))
            yield segment, [JudgedPair(pair=good, kept=True), JudgedPair(pair=bad, kept=False, reason="form")]

    monkeypatch.setattr(routing, "write_pairs", write_pairs)
    return titles


def pairs_of(found, recipe, cache):
    return asyncio.run(routing.pairs_of(found, load_recipe(recipe), Settings(), cache))


def test_what_a_generator_wrote_is_read_and_not_written_again(tmp_path, generator):
    first = pairs_of(article(), "embedded", tmp_path / "cache")
    assert [pair.question for pair in first] == ["good?"]
    assert pairs_of(article(), "embedded", tmp_path / "cache") == first
    assert generator == ["Lighthouse"]


def test_another_text_or_another_recipe_is_written_anew(tmp_path, generator):
    pairs_of(article(), "embedded", tmp_path)
    pairs_of(Article("squad_dev", "x", "Lighthouse", f"{PROSE} And so on.", ()), "embedded", tmp_path)
    own = tmp_path / "own.json"
    own.write_text('{"format": 1, "generator": {"seed": 7}}')
    pairs_of(article(), str(own), tmp_path)
    assert len(generator) == 3


def test_cloze_pairs_need_no_cache(tmp_path, generator):
    pairs_of(article(), "smoke", tmp_path)
    pairs_of(article(), "smoke", tmp_path)
    assert (len(generator), list(tmp_path.iterdir())) == (2, [])


def test_pairs_come_in_the_order_of_the_articles(generator):
    articles = [Article("squad_dev", str(n), f"T{n}", PROSE, ()) for n in range(9)]
    progress = []
    found = asyncio.run(
        routing._pairs_of_all(
            articles, load_recipe("smoke"), Settings(), None, lambda *each: progress.append(each)
        )
    )
    assert len(found) == 9
    assert sorted(generator) == [each.title for each in articles]
    assert progress[-1] == ("writing pairs", 9, 9)


# --- figures ----------------------------------------------------------------------------------


def test_a_share_counts_questions_and_not_documents():
    assert share([(1, 1), (0, 9)]) == 0.1
    assert share([]) == 0


def test_the_interval_holds_the_share_and_is_wider_where_few_documents_decide():
    many = [(9, 10), (8, 10), (10, 10), (9, 10)] * 10
    few = [(40, 40), (0, 4)]
    for counts in (many, few):
        low, high = interval(counts)
        assert low < share(counts) < high
    assert interval(few)[1] - interval(few)[0] > interval(many)[1] - interval(many)[0]
    assert interval([(5, 5)] * 3) == (1, 1)
    assert interval(many) == interval(many)


def test_rows_say_for_each_set_and_all_how_many_questions_found_their_document():
    squad = article(1, ["a?", "b?", "c?", "d?"])
    fairy = article(2, ["e?"], set="fairytaleqa")
    ours = [Found(squad, {1: 3, 3: 4}), Found(fairy, {1: 0, 3: 1})]
    plain = [Found(squad, {1: 2, 3: 2}), Found(fairy, {1: 1, 3: 1})]
    rows = {row["name"]: row for row in rows_of({"ours": ours, "ts_rank": plain})}
    assert {name: (row["ours"], row["ts_rank"], row["n"]) for name, row in rows.items() if row["n"]} == {
        "all: top 1": (0.6, 0.6, 5),
        "all: top 3": (1.0, 0.6, 5),
        "squad_dev: top 1": (0.75, 0.5, 4),
        "squad_dev: top 3": (1.0, 0.5, 4),
        "fairytaleqa: top 1": (0.0, 1.0, 1),
        "fairytaleqa: top 3": (1.0, 1.0, 1),
        "squad_dev, articles that the embedded generator was never taught: top 1": (0.75, 0.5, 4),
        "squad_dev, articles that the embedded generator was never taught: top 3": (1.0, 0.5, 4),
    }
    assert rows["all: top 1"]["documents"] == 2
    assert rows["all: top 1"]["low"] <= 0.6 <= rows["all: top 1"]["high"]
