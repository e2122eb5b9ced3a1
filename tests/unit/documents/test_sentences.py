"""Where sentences end, and where a full stop is none: one example of each rule."""

import pytest

from lift_core.documents import split
from lift_core.documents.sentences import is_clause_title
from lift_core.records import SegmentationRecipe

ONE = [
    # Abbreviations, in front of numbers and of names.
    "The lamp is described in Sec. 4(a) of the Act of 1712.",
    "See Eq. (3) and Eqs. 4 and 5 and Fig. 2 and No. 7 of the almanac.",
    "It needed approx. 20 barrels of oil, cf. Vol. 3, pp. 4-5.",
    "The case of Krell v. Vanterpool was brought by Prof. Marra and the U.S. Government.",
    "Aedes spp. mosquitoes and Ae. albopictus reached the island.",
    "Krell et al. [12] measured the light.",
    "J. R. R. Vanterpool and George W. Marra kept the lamp.",
    "It was sold by Acme Co. Ltd. for 4.5 million crowns.",
    # A sentence goes on after what looks like its end.
    "“Who is there? let me go!” cried the keeper, but nobody came.",
    "The keeper (he came in 1712. It was winter) slept in the tower.",
    "He asked what (i) the lamp, (ii) the oil and (iii) the keeper had cost.",
    "The tower may be sold, whether\n(a) whole; or\n(b) in parts, by its owner.",
    "The keepers were Thiel, Michelle M.; Karr, Omkar U.; Shell, Devon J. and nobody else.",
    "The light was seen at 5 p.m. on Jan. 5, 1712, i.e. at dusk.",
    "Version 3.12.0a4 was put at www.example.org and read there.",
    # What is noted after the full stop belongs to the sentence.
    "The lamp burned for a year.[12]",
    "The lamp burned for a year [4, 11] .",
    "The lamp burned for a year.[citation needed]",
    "The right to the light and all that is granted pursuant to\n\n\n  the Act of the year 1712 shall end.",
    "The keeper wrote down every ship that passed within sight of the\n\n12\n\ntower in his book.",
]
SEVERAL = [
    ("The value is 3.14. No. 5 was lost. He wept.", ["The value is 3.14.", "No. 5 was lost. He wept."]),
    ("He left in the U.S. In 1990 it was sold.", ["He left in the U.S.", "In 1990 it was sold."]),
    (
        'They know "what people know."  Many keepers know less.',
        ['They know "what people know."', "Many keepers know less."],
    ),
    (
        "The lamp burned. [12] The oil was dear. The end came soon.",
        ["The lamp burned. [12]", "The oil was dear.", "The end came soon."],
    ),
    (
        "The lamp shall be lit at dusk.    3.2 Oil. The owner shall pay for it.    "
        "3.3 The keeper sleeps by day.",
        [
            "The lamp shall be lit at dusk.",
            "3.2 Oil. The owner shall pay for it.",
            "3.3 The keeper sleeps by day.",
        ],
    ),
    (
        "WHEREAS, Krell has a lamp;    WHEREAS, Marra has oil;    NOW they agree to light it.",
        ["WHEREAS, Krell has a lamp;", "WHEREAS, Marra has oil;", "NOW they agree to light it."],
    ),
    (
        "> The first line of it\n> goes on. Here is\n> another.",
        ["The first line of it\n> goes on.", "Here is\n> another."],
    ),
    (
        "The keeper was told to go away. So I try. It would relieve the press of ideas.",
        ["The keeper was told to go away. So I try.", "It would relieve the press of ideas."],
    ),
]


def texts(text):
    return [segment.text.removeprefix("> ") for segment in split(text, SegmentationRecipe())]


@pytest.mark.parametrize("text", ONE)
def test_this_is_one_sentence(text):
    assert texts(text) == [text]


@pytest.mark.parametrize(("text", "sentences"), SEVERAL)
def test_these_are_several_sentences(text, sentences):
    assert texts(text) == sentences


def test_a_long_paragraph_is_split_as_a_short_one_is():
    """What pysbd sees at once is bounded; the bounds must not be seen in what comes out."""
    sentences = [
        f"In {1700 + n} Dr. J. Krell sold No. {n} of the lamps (see Fig. {n}) for 4.5 crowns."
        for n in range(200)
    ]
    assert texts(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("sentence", "title"),
    [
        ("3.5 Shipment, Delivery and Risk of Loss.", True),
        ("Article 2  Grant of Rights    2.1 Appointment.", True),
        ('1.3 The term "Field" means the island.', False),
        ("The Keeper Slept.", False),
        ("3.12.0a4 was released.", False),
    ],
)
def test_the_title_of_a_clause_is_no_statement(sentence, title):
    assert is_clause_title(sentence) is title
