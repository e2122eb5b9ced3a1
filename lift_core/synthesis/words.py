"""Text as words that can be compared: without case, accents and inflection, numbers in one spelling."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from lift_core.synthesis.english import IRREGULAR, STOP_WORDS

# Scripts that write no blanks between words are compared character by character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_POSSESSIVE = re.compile(r"(?<=\w)['’](?:s\b|(?=\s|$))")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b", re.IGNORECASE)
_NEGATION = re.compile(r"(?<=\w)n['’]t\b")
_DIGIT_GROUPS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")
_BARE_FRACTION = re.compile(r"(?<![\w.])\.(?=\d)")
_VULGAR_FRACTION = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SYMBOLS = {"%": " percent ", "$": " dollars ", "€": " euros ", "£": " pounds ", "&": " and "}
_SYMBOL = re.compile("[%$€£&]")


def fold(text: str) -> str:
    """Text without case, accents, possessives and grouped digits; symbols of units become words."""
    if not text.isascii():
        text = _DIGIT_GROUPS.sub("", _VULGAR_FRACTION.sub(" ", text))
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = _BARE_FRACTION.sub("0.", _POSSESSIVE.sub("", _NEGATION.sub(" not", _ORDINAL.sub("", text))))
    return _SYMBOL.sub(lambda found: _SYMBOLS[found.group()], text).casefold()


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """The folded words of a text; a number is one word with its points, without thousands' commas."""
    return tuple(_number(word) if word[0].isdigit() else word for word in _WORD.findall(fold(text)))


def plain(text: str) -> str:
    """The folded words with a blank between them: equal for texts that differ in spelling alone."""
    return " ".join(words(text))


def content_words(text: str) -> list[str]:
    """The folded words that carry fact: neither grammar nor numbers."""
    return [word for word in words(text) if word not in STOP_WORDS and not word[0].isdigit()]


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """An English word without its inflection: founded, founding and founds are found.

    Only inflection goes, no derivation: "general" and "generalise" stay two words. What is no English word
    loses at most a like ending, on both sides of a comparison.
    """
    if word in IRREGULAR:
        word = IRREGULAR[word]
    if len(word) < 4 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word.endswith("eed") and len(word) > 4:
        word = word[:-1]
    for ending in ("ing", "ed"):
        root = word[: -len(ending)]
        if word.endswith(ending) and len(root) > 2 and any(vowel in root for vowel in "aeiouy"):
            doubled = len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz"
            word = root[:-1] if doubled else root
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def _number(word: str) -> str:
    """One spelling: 1,200 is 1200, 05 is 5 and 12.00 is 12."""
    if _THOUSANDS.fullmatch(word):
        word = word.replace(",", "")
    whole, point, rest = word.partition(".")
    if point and rest.strip("0") == "":
        point = rest = ""
    return (whole.lstrip("0") or "0") + point + rest if whole.isdecimal() else word
