"""Ids of people: refused is what would look like another or like nothing; and who may be one person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.actorid import alike, problem, same_person

GOOD = [
    *("p.moss", "P.Moss@ncic.nhs.uk", "nwas-51180", "CUMBRIA\\pmoss", "R Bell", "9434765919", "j.o'neil"),
    *("zoë.ó-briain", "łukasz", "gŵyn", "Ζωή", "иван.петров", "e\u0301mile"),
    *("O\u2019Brien", "Anne\u2013Marie Hall", "gal\u00b7la", "Ɔkonkwo", "Əliyev", "x\u030carek"),
    *("תמר ג\u05f3ונס", "نُور", "नमिता", "நமிதா", "ณัฐ", "ジョーンズ"),
]
BAD = {
    "zero-width space": "p.moss\u200b",
    "joiner inside": "p.\u200dmoss",
    "soft hyphen": "p.mo\u00adss",
    "byte order mark": "\ufeffp.moss",
    "space before": " p.moss",
    "no-break space after": "p.moss\u00a0",
    "control": "p.moss\x00",
    "grapheme joiner": "p.mo\u034fss",
    "variation selector": "p.moss\ufe0f",
    "hangul filler": "p.moss\u3164",
    "filler beside digits": "51180\uffa0",
    "braille blank": "p.moss\u2800",
    "private use": "p.moss\ue000",
    "a Cyrillic o": "p.m\u043ess",
    "a Greek o": "p.m\u03bfss",
    "digits of another script": "5118\u0660",
    "a stray accent": "\u0301p.moss",
    "an accent on a stop": "p.\u0301moss",
    "a vowel's sign of another script": "p.mo\u093fss",
    "an enclosing circle": "p.mo\u20ddss",
    "a variation selector of Mongolian": "p.mo\u180bss",
    "a bullet": "p\u2022moss",
    "a quotation mark": "\u201cp.moss\u201d",
}


@pytest.mark.parametrize("value", GOOD)
def test_ids_as_agencies_have_them_are_taken(value: str) -> None:
    """Logins, numbers, addresses, names with accents, names in one script."""
    assert problem(value) == ""


@pytest.mark.parametrize("value", list(BAD.values()), ids=list(BAD))
def test_an_id_that_would_pass_for_another_is_refused(value: str) -> None:
    """What does not show, stands at the ends, or is of a second script."""
    assert problem(value) != ""


@pytest.mark.parametrize(
    "other",
    [
        *("P.MOSS", " p.moss ", "p.moss\u200b", "p.mo\u034fss", "p.möss", "ｐ.ｍｏｓｓ", "p.m0ss"),
        *("р.мосс", "𝐩.𝐦𝐨𝐬𝐬", "p.mᴏss", "p.moꜱs", "ᴘ.ᴍᴏꜱꜱ", "p.møss", "p.mɵss", "p.mȯ\u0323ss", "p.rnoss"),
        "p.mo\u0338ss",
    ],
)
def test_one_person_under_another_spelling_is_one(other: str) -> None:
    """Capitals, widths, accents, digits for letters, what does not show; and whatever is in another script."""
    assert same_person("p.moss", other)
    assert same_person(other, "p.moss")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("bill", "biII"), ("bill", "b1l1"), ("hal", "hɑl"), ("bil", "bıl"), ("bil", "bɪl"), ("łuk", "luk")),
        *(("o'brien", "O\u2019Brien"), ("o'brien", "o\u02bcbrien"), ("a-hall", "a\u2013hall")),
        *(("đan", "dan"), ("ðan", "dan"), ("æsa", "aesa"), ("gal.la", "gal\u00b7la"), ("wes", "vves")),
        *(("نُور", "نور"), ("қазы", "казы"), ("ϴ", "θ")),
    ],
)
def test_lookalikes_are_alike(one: str, other: str) -> None:
    """A capital I, a one and a small l; a Latin alpha and an a; strokes, small capitals, apostrophes, dashes,
    what is written with vowels or without."""
    assert alike(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("नमिता", "नमता"), ("नमिता", "नमन"), ("нина", "анна"), ("p.ross", "p.rossi")]
)
def test_two_names_are_two(one: str, other: str) -> None:
    """In one script, with other vowels too."""
    assert not same_person(one, other)


@pytest.mark.parametrize("other", ["p.mass", "r.bell", "51180", "pm.oss", "zoë", "p-moss", "p.moss2"])
def test_two_people_are_two(other: str) -> None:
    """Another name in the same script, or a number."""
    assert not same_person("p.moss", other)
    assert not alike("p.moss", other)


@given(st.text(max_size=12), st.sampled_from("\u200b\u200d\u00ad\u2060\ufe0f\u034f "))
def test_what_does_not_show_makes_nobody_another(value: str, hidden: str) -> None:
    """Wherever it is put at the ends, the id is the same person's, and is refused at the door."""
    for other in (value + hidden, hidden + value):
        assert same_person(value, other)
        assert problem(other) != ""
