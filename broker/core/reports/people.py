"""Whether two names may be one person's: what somebody's software calls them, and what was asked about.

Owns how names are compared: whole, in their order, without case, accents, titles, apostrophes and hyphens. The
family name is all of it and the first given name is the same; further given names, or their initials, may be
missing on one side, and may not be others. Nothing is guessed: a nickname, an initial in place of the first
name, or the family name alone is nobody's; nor is what has more words than a name. That two names may be one is
a reason to look and no more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

_TITLES = frozenset({"mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "dame", "pc", "sgt", "insp"})
# Letters that no normal form takes apart.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"})
_APOSTROPHES = re.compile("['\u2018\u2019\u02bc`\u00b4.]")
_HYPHENS = re.compile("[-\u2010\u2011]")
_WORDS = re.compile(r"[^\W\d_]+")

MOST_WORDS = 10  # of a name in one line, and of either part of one

# A given name, the first one or all of them joined, and a family name, joined: of two names that may be one
# person's, one mark at least is the same.
Mark = tuple[str, str]


class Asked(Struct, frozen=True):
    """A name that was asked about, in its two parts."""

    given: tuple[str, ...]
    family: str

    @property
    def marks(self) -> frozenset[Mark]:
        """One of them has every `Called` that this may be."""
        return frozenset(_marks(self.given, self.family))


class Called(Struct, frozen=True):
    """A name as it is written in one line: `HILL, Ada` and `HILL Ada` say which part is the family's; of `Ada
    van Hill` that is its end, however much of it."""

    words: tuple[str, ...]
    family: str = ""

    @property
    def marks(self) -> frozenset[Mark]:
        """By which it is found."""
        return frozenset(mark for split in self._splits() for mark in _marks(*split))

    def may_be(self, asked: Asked) -> bool:
        """Whether this may be the person of that name."""
        return any(
            family == asked.family and _same_given(given, asked.given) for given, family in self._splits()
        )

    def _splits(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Given names and a family's, wherever the one may end and the other begin."""
        if self.family:
            yield self.words, self.family
            return
        for n in range(1, len(self.words)):
            yield self.words[:n], "".join(self.words[n:])


def asked(traits: Mapping[str, str]) -> Asked | None:
    """The name asked about, where both parts of it were given: a family name alone is too common."""
    given, family = _words(traits.get("given_name", "")), _words(traits.get("family_name", ""))
    return Asked(given, "".join(family)) if _are_words(given) and _are_words(family) else None


def called(name: str) -> Called | None:
    """A name in one line; None where it is not at least a given and a family name."""
    before, comma, after = name.partition(",")
    if comma:
        return _in_parts(_untitled(_words(after)), _untitled(_words(before)))
    written = name.split()
    shouted = next((n for n, word in enumerate(written) if not _is_shouted(word)), 0)
    if shouted and len(given := _untitled(_words(" ".join(written[shouted:])))):
        family = _untitled(_words(" ".join(written[:shouted])))
        return _in_parts(given, family) if family else _in_line(given)
    return _in_line(_untitled(_words(name)))


def _in_parts(given: tuple[str, ...], family: tuple[str, ...]) -> Called | None:
    return Called(given, "".join(family)) if _are_words(given) and _are_words(family) else None


def _in_line(words: tuple[str, ...]) -> Called | None:
    return Called(words) if len(words) > 1 and _are_words(words) else None


def _are_words(words: tuple[str, ...]) -> bool:
    """Whether these may be a name, or a part of one."""
    return 0 < len(words) <= MOST_WORDS


def _marks(given: tuple[str, ...], family: str) -> Iterator[Mark]:
    yield given[0], family
    yield "".join(given), family


def _is_shouted(word: str) -> bool:
    """Whether a word is in capitals, as family names are in lists, and is no initial."""
    return word.isupper() and sum(map(str.isalpha, word)) > 1 and word.casefold().strip(".") not in _TITLES


def _words(text: str) -> tuple[str, ...]:
    folded = unicodedata.normalize("NFKD", text.casefold()).casefold().translate(_LETTERS)
    bare = "".join(char for char in folded if not unicodedata.combining(char))
    return tuple(_WORDS.findall(_HYPHENS.sub("", _APOSTROPHES.sub("", bare))))


def _untitled(words: tuple[str, ...]) -> tuple[str, ...]:
    while words and words[0] in _TITLES:
        words = words[1:]
    return words


def _same_given(one: Sequence[str], other: Sequence[str]) -> bool:
    if not one or not other:
        return False
    if (whole := "".join(one)) == "".join(other):  # Anne-Marie, Anne Marie
        return len(whole) > 1
    if one[0] != other[0] or len(one[0]) < 2:
        return False
    fewer, more = sorted((one[1:], other[1:]), key=len)
    left = iter(more)
    return all(any(_same(each, next_) for next_ in left) for each in fewer)


def _same(one: str, other: str) -> bool:
    """Two words, or a word and its initial."""
    return one == other or (1 in (len(one), len(other)) and one[0] == other[0])
