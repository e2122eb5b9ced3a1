"""Which of the splitter's languages a text is in: by its script, then by its commonest words.

A guess and no more: it only chooses between sets of abbreviations and of marks that end a sentence, so a
near relative (Portuguese read as Spanish) costs little. What a file says of its own language is not asked:
templates say it of texts in any language.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SAMPLE = 20_000
"""Characters that are looked at."""
_MIN_SHARE = 0.05
"""Of the words, below which no language's commonest words say anything."""
_SCRIPTS = {
    "CJK": "zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "DEVANAGARI": "hi",
    "ETHIOPIC": "am",
    "ARABIC": "ar",
    "ARMENIAN": "hy",
    "CYRILLIC": "ru",
    "GREEK": "el",
    "MYANMAR": "my",
}
"""First words of the names of Unicode characters; a script's most spoken language stands for it."""
_LETTERS_OF = {
    "ja": {"zh": "ぁ-ヿ"},
    "kk": {"ru": "әғқңөұүһі"},
    "bg": {"ru": "ъ"},
    "fa": {"ar": "پچژگی"},
    "ur": {"ar": "ٹڈڑںے"},
    "mr": {"hi": "ळ"},
}
"""Letters that one language has and its script's most spoken one has not, or seldom."""
_MIN_LETTERS = 0.005
_COMMON = {
    "en": "the of and to in that is was for with by as are this an its from at or shall will",
    "de": "der die das und ist nicht von zu den mit dem ein eine auf im des sich für wird als",
    "fr": "le la les et des est une dans que qui pour du sur au par pas avec il ne sont aux",
    "es": "el los las y que en del una por con para es se su al como más fue lo entre",
    "it": "il che di la e è un una per del della con non sono gli nel alla dei si più",
    "nl": "de het een en van is niet dat op te zijn met voor aan er door naar wordt ook bij",
    "da": "og det er en at til af på der som ikke med den for et har var fra blev sig",
    "pl": "i w na z się nie do jest że to o jak po przez dla od który są był oraz",
    "sk": "a v sa na je že to s do aj ako pre pri bol sú ktorý alebo od po už",
}
COMMON_WORDS = {code: frozenset(words.split()) for code, words in _COMMON.items()}
"""Words that end no sentence: what stops after one goes on somewhere."""


def language_of(text: str) -> str:
    """ISO 639-1 code of the language that a text most likely is in, English where nothing tells.

    The answer is one of the languages of pysbd 0.3 (https://github.com/nipunsadvilkar/pySBD).
    """
    sample = text[:_SAMPLE]
    letters = [character for character in sample if character.isalpha()]
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in letters)
    script = scripts.most_common(1)[0][0] if scripts else ""
    if script not in _SCRIPTS:
        return _of_latin(sample)
    found = _SCRIPTS[script]
    for language, of in _LETTERS_OF.items():
        own = re.findall(f"[{of[found]}]", sample) if found in of else []
        if len(own) > _MIN_LETTERS * len(letters):
            return language
    return found


def _of_latin(sample: str) -> str:
    words = Counter(re.findall(r"[^\W\d_]+", sample.lower()))
    seen = {code: sum(words[word] for word in common) for code, common in COMMON_WORDS.items()}
    best = max(seen, key=lambda code: seen[code])
    return best if seen[best] >= _MIN_SHARE * words.total() else "en"
