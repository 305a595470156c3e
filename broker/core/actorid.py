"""Owns how people are named by their systems: which ids can be read, and when two may be the same person's.

An id is a login, a number or an address of the agency's own. Refused is what would look like another id, or
like nothing: characters that do not show, spaces at the ends, letters of two scripts in one id (Unicode
Technical Standard 39 section 5.1). Two ids are compared by what is left when capitals, accents and lookalikes
are taken away, never by the bytes.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# As UTS 39 has them, once capitals are gone: a capital I and a small l, digits and letters.
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "\u0131": "l", "\u0251": "a", "\u0261": "g"})


def problem(value: str) -> str:
    """Why this is no id of a person, in words that follow `actor.id`; empty where it may be one."""
    if value.isascii():
        return "" if value.isprintable() and value == value.strip() else _BLANK
    if value != value.strip():
        return _BLANK
    scripts = set[str]()
    for c in unicodedata.normalize("NFKC", value):
        if c.isascii():
            # A format's own: it normalises to what does not show.
            if not c.isprintable():
                return _BLANK
        elif unicodedata.category(c) == "Nd":
            return "has digits of another script: write 0 to 9"
        elif unicodedata.category(c)[0] != "L" or "FILLER" in unicodedata.name(c, "FILLER"):
            return "has characters that do not show, or are no letters: write letters, digits and punctuation"
        if c.isalpha():
            scripts.add(_script(c))
    return "" if len(scripts) < 2 else "has letters of two scripts, which look alike: write it in one"


def alike(one: str, other: str) -> bool:
    """Whether a reader would take the one for the other."""
    return _seen(one)[0] == _seen(other)[0]


def same_person(one: str, other: str) -> bool:
    """Whether these may be the same person: whoever needs two, takes them for one. So it is where they are
    written in two scripts, since a word of the one can look like a word of the other."""
    (ours, here), (theirs, there) = _seen(one), _seen(other)
    return ours == theirs or bool(here and there and here != there)


_BLANK = "has characters that do not show, or spaces at its ends"


@lru_cache(maxsize=1024)
def _seen(value: str) -> tuple[str, frozenset[str]]:
    """What a reader sees of an id, and the scripts of its letters."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", value).casefold())
    left = "".join(c for c in folded if unicodedata.category(c)[0] not in "CMZ")
    return left.translate(_ALIKE), frozenset(_script(c) for c in left if c.isalpha())


def _script(letter: str) -> str:
    """Near enough: the first word of its name, such as LATIN."""
    return "LATIN" if letter.isascii() else unicodedata.name(letter, "?").split()[0]
