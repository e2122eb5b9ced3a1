"""Which adapter answers? BM25 in SQL over the words of titles and kept pairs.

What came of the choices (`lift bench routing` measures it): PostgreSQL's ``english`` configuration found
the right document more often than ``simple``, questions with answers as often as questions alone, and a
title's words do best when they count as a few mentions more: a factor on their weight chose worse.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy import Connection, text

from lift_core.errors import LiftError, NotFoundError
from lift_core.records import QAPair, Record
from lift_core.registry.database import Database, one, rows

TITLE_MENTIONS = 5
"""A word of the title counts as if the pairs mentioned it so many times more."""
MAX_QUESTION = 10_000
"""Characters."""
MAX_MATCHES = 100
_CONFIGURATION = "english"
_SATURATION = 1.2
"""BM25's k1: how soon further mentions of a word stop to count."""
_LENGTH_SHARE = 0.5
"""BM25's b: how far a long document's mentions count less, from 0 to 1."""
_POSTINGS = 100_000
"""So many lines of the index are scored for one question: its rarest words, which tell the most."""
_SAMPLE = 10_000
"""The newest adapters, whose mean length stands for all."""
_PIECE = 500
"""Characters. PostgreSQL counts up to 255 mentions of a word in one text; a piece cannot hold more."""
_BATCH = 2000
"""Pieces that are sent at once: a megabyte at most."""

# Who serves is looked up for the best alone, in their order, until enough do: only an active adapter has an
# alias, and `name = slug` is the alias of the one that answers for its document. OFFSET 0 and LIMIT 1 keep
# the planner from looking it up for all: it takes that condition for a rare one.
_SCORE = """
WITH weighed AS (
    SELECT s.adapter_id, s.lexeme, w.rarity * s.frequency * cast(:k + 1 AS float8)
           / (s.frequency + cast(:k AS float8) * (1 - :b + :b * e.length / cast(:mean_length AS float8)))
           AS weight
    FROM unnest(cast(:lexemes AS text[]), cast(:rarities AS float8[])) w (lexeme, rarity)
    JOIN search_lexemes s ON s.lexeme = w.lexeme JOIN search_entries e ON e.adapter_id = s.adapter_id
), ranked AS (
    -- Added up in one order: sums of equal weights must be equal.
    SELECT adapter_id, sum(weight ORDER BY lexeme) AS score FROM weighed GROUP BY adapter_id
    ORDER BY score DESC, adapter_id OFFSET 0
)
SELECT a.name, l.slug, d.key, a.title, r.score,
       (SELECT jsonb_object_agg(lexeme, weight) FROM weighed WHERE adapter_id = r.adapter_id) AS weights
FROM ranked r
CROSS JOIN LATERAL (SELECT slug FROM aliases WHERE adapter_id = r.adapter_id AND name = slug LIMIT 1) l
JOIN adapters a ON a.id = r.adapter_id JOIN documents d ON d.id = a.document_id
ORDER BY r.score DESC, r.adapter_id LIMIT :limit
"""


class MatchedWord(Record):
    """A word of the question that the adapter's title or pairs hold, and what it adds to the score."""

    word: str
    weight: float


class Match(Record):
    """An adapter that may know the answer, and why; ``document`` is the key, ``slug`` the alias."""

    adapter: str
    slug: str
    document: str
    title: str
    score: float
    """Larger is better; comparable among the matches of one question alone."""
    why: tuple[MatchedWord, ...]
    """What matched, the weightiest first; the weights add up to the score."""


class Search(Database):
    """The index of titles and kept pairs."""

    def index_adapter(self, name: str, pairs: Iterable[QAPair]) -> None:
        """Let an adapter be found by its title and by the pairs that it was taught.

        What was indexed for it before is replaced, at once.

        Raises:
            NotFoundError: there is no such adapter.
        """
        with self.transaction() as connection:
            title = _title(connection, name)
        words: Counter[str] = Counter()
        texts = (each for pair in pairs for each in (pair.question, pair.answer))
        pieces = _pieces(texts)
        while batch := list(itertools.islice(pieces, _BATCH)):
            with self.transaction() as connection:
                words.update(_count(connection, batch))
        with self.transaction() as connection:
            for word, mentions in _count(connection, list(_pieces([title]))).items():
                words[word] += TITLE_MENTIONS * mentions
            _replace(connection, name, words)

    def which_adapters(self, question: str, limit: int = 3) -> list[Match]:
        """The adapters most likely to know the answer, the best first; none where no word matches.

        Only those are candidates that answer now under their document's alias. Of a question whose words
        are in very many documents, the most common ones are left out as long as a rarer one is there.

        Raises:
            LiftError: the question is too long, or the limit out of range.
        """
        if not 1 <= limit <= MAX_MATCHES:
            raise LiftError(f"1 to {MAX_MATCHES} adapters can be found at once, not {limit}")
        if len(question) > MAX_QUESTION:
            raise LiftError(
                f"the question has {len(question):,} characters; the limit is {MAX_QUESTION:,}: "
                "ask it in fewer words"
            )
        with self.transaction() as connection:
            words = _words(connection, question)
            holders = _rarest(connection, list(words))
            if not holders:
                return []
            adapters, mean_length = _size(connection)
            found = rows(
                connection,
                _SCORE,
                {
                    "lexemes": list(holders),
                    "rarities": [_rarity(adapters, count) for count in holders.values()],
                    "mean_length": mean_length,
                    "k": _SATURATION,
                    "b": _LENGTH_SHARE,
                    "limit": limit,
                },
            )
        return [
            Match(
                adapter=row.name,
                slug=row.slug,
                document=row.key,
                title=row.title,
                score=row.score,
                why=_why(row.weights, words),
            )
            for row in found
        ]


def _title(connection: Connection, name: str) -> str:
    found = one(connection, "SELECT title FROM adapters WHERE name = :name", name=name)
    if found is None:
        raise NotFoundError(f"there is no adapter '{name}' to index; see `lift adapters ls`")
    return str(found.title)


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """The texts cut at white space into pieces that PostgreSQL counts exactly."""
    for each in texts:
        yield from textwrap.wrap(_replaced(each), _PIECE, break_on_hyphens=False)


def _replaced(words: str) -> str:
    """Text that PostgreSQL takes: a space for each NUL, a question mark for half a character."""
    return words.replace("\0", " ").encode("utf-8", "replace").decode()


def _count(connection: Connection, pieces: Iterable[str]) -> dict[str, int]:
    """How often each lexeme is in the pieces."""
    found = rows(
        connection,
        "SELECT l.lexeme, sum(cardinality(l.positions)) AS mentions FROM unnest(cast(:pieces AS text[])) p, "
        "unnest(to_tsvector(cast(:configuration AS regconfig), p)) l GROUP BY l.lexeme",
        {"pieces": list(pieces), "configuration": _CONFIGURATION},
    )
    return {row.lexeme: int(row.mentions) for row in found}


def _replace(connection: Connection, name: str, words: Mapping[str, int]) -> None:
    entry = one(
        connection,
        # Whoever indexes the same adapter waits here.
        "INSERT INTO search_entries (adapter_id, length) SELECT id, :length FROM adapters WHERE name = :name "
        "ON CONFLICT (adapter_id) DO UPDATE SET length = excluded.length RETURNING adapter_id",
        name=name,
        length=sum(words.values()),
    )
    if entry is None:
        raise NotFoundError(f"there is no adapter '{name}' to index; see `lift adapters ls`")
    connection.execute(
        text("DELETE FROM search_lexemes WHERE adapter_id = :adapter"), {"adapter": entry.adapter_id}
    )
    connection.execute(
        text(
            "INSERT INTO search_lexemes (lexeme, adapter_id, frequency) SELECT lexeme, :adapter, frequency "
            "FROM unnest(cast(:lexemes AS text[]), cast(:frequencies AS integer[])) w (lexeme, frequency) "
            "ORDER BY lexeme"
        ),
        {"adapter": entry.adapter_id, "lexemes": list(words), "frequencies": list(words.values())},
    )


def _words(connection: Connection, question: str) -> dict[str, str]:
    """The question's lexemes, each with the word that it first stands for."""
    found = rows(
        connection,
        "SELECT DISTINCT ON (lexeme) lexeme, t.token "
        "FROM ts_debug(cast(:configuration AS regconfig), :question) WITH ORDINALITY "
        "t (alias, description, token, dictionaries, dictionary, lexemes, place), unnest(t.lexemes) lexeme "
        "ORDER BY lexeme, t.place",
        {"question": _replaced(question), "configuration": _CONFIGURATION},
    )
    return {row.lexeme: row.token for row in found}


def _rarest(connection: Connection, lexemes: list[str]) -> dict[str, int]:
    """The rarest lexemes, as many as are not too much to score, but at least one that is there.

    Each with the number of adapters that hold it, which is not counted further than it may be scored.
    """
    found = rows(
        connection,
        "SELECT lexeme, (SELECT count(*) FROM (SELECT FROM search_lexemes s WHERE s.lexeme = w.lexeme "
        "LIMIT :most) l) AS holders FROM unnest(cast(:lexemes AS text[])) w (lexeme) "
        "ORDER BY holders, lexeme",
        {"lexemes": lexemes, "most": _POSTINGS},
    )
    chosen: dict[str, int] = {}
    for row in found:
        if row.holders and (not chosen or sum(chosen.values()) + row.holders <= _POSTINGS):
            chosen[row.lexeme] = row.holders
    return chosen


def _size(connection: Connection) -> tuple[float, float]:
    """How many adapters are indexed, and the mean length of what was indexed for one.

    Beyond a sample the number is the planner's estimate: counting them all would take longer than the rest.
    """
    found = one(
        connection,
        "SELECT count(*) AS sampled, avg(length) AS mean_length, "
        "(SELECT reltuples FROM pg_class WHERE oid = to_regclass('search_entries')) AS estimated "
        "FROM (SELECT length FROM search_entries ORDER BY adapter_id DESC LIMIT :sample) newest",
        sample=_SAMPLE,
    )
    if found is None or not found.sampled:
        return 1.0, 1.0
    adapters = found.sampled if found.sampled < _SAMPLE else max(found.sampled, found.estimated)
    return float(adapters), max(1.0, float(found.mean_length))


def _rarity(adapters: float, holders: int) -> float:
    """BM25's weight of a word, of all adapters and those that hold it; never negative."""
    return math.log(1 + max(0.0, adapters - holders + 0.5) / (holders + 0.5))


def _why(weights: Mapping[str, float], words: Mapping[str, str]) -> tuple[MatchedWord, ...]:
    ranked = sorted(weights.items(), key=lambda each: (-each[1], each[0]))
    return tuple(MatchedWord(word=words[lexeme], weight=round(weight, 4)) for lexeme, weight in ranked)
