"""Owns how people are named by their systems: which ids can be read, and when two may be the same person's.

An id is a login, a number, an address or a name of the agency's own. Refused is what would look like another
id, or like nothing: characters that do not show, spaces at the ends, letters of two scripts in one id (Unicode
Technical Standard 39 section 5.1). Two ids are compared by what is left when capitals, accents and lookalikes
are taken away, never by the bytes: near to a skeleton of that standard (section 4) within one script, by the
names and decompositions of Python's own Unicode data, which give a stroke, a hook or a small capital its
letter.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# As UTS 39 has them, once capitals are gone: a capital I and a small l, digits and letters, an rn and an m.
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "\u01c0": "l", "m": "rn", "w": "vv", "`": "'"})
# Punctuation of names, beside dashes, and what each looks like: apostrophes, geresh and gershayim, middle dots.
_IN_NAMES = dict(zip("\u2018\u2019\u05f3\u05f4\u00b7\u30fb", "'''\"..", strict=True))
# Marks that do not show (Default_Ignorable_Code_Point).
_UNSEEN = re.compile("[\u034f\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Letters of Latin script that Unicode names by no letter of A to Z, by what they are taken for.
_NAMED = dict(
    zip(
        ["ALPHA", "SCHWA", "IOTA", "ENG", "ETH", "THORN", "KRA", "GAMMA", "UPSILON", "SALTILLO", "BETA", "CHI"],
        "aeindpkyu'bx",
        strict=True,
    )
)
_LAST = re.compile(r"(?:([A-Z]{1,2})(?: BAR| ROTUNDA)?|([A-Z]+))$")


def problem(value: str) -> str:
    """Why this is no id of a person, in words that follow `actor.id`; empty where it may be one."""
    if value.isascii():
        return "" if value.isprintable() and value == value.strip() else _BLANK
    if value != value.strip():
        return _BLANK
    scripts, before = set[str](), "-"
    for c in unicodedata.normalize("NFKC", value):
        kind = unicodedata.category(c)
        if c.isascii():
            # A format's own: it normalises to what does not show.
            if not c.isprintable():
                return _BLANK
        elif kind == "Nd":
            return "has digits of another script: write 0 to 9"
        elif not (_is_letter(c) or kind == "Pd" or c in _IN_NAMES or (before in "LM" and _is_mark(c))):
            return "has characters that do not show, or are no letters: write letters, digits and punctuation"
        if kind[0] in "LM" and not unicodedata.name(c).startswith("COMBINING"):
            scripts.add(_script(c))
        before = kind[0] if kind[0] in "LM" else "-"
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
    left = "".join(c for c in folded if unicodedata.category(c)[0] not in "CZ" and not _is_accent(c))
    return "".join(map(_taken_for, left)).translate(_ALIKE), frozenset(_script(c) for c in left if c.isalpha())


@lru_cache(maxsize=1024)
def _taken_for(c: str) -> str:
    """The letter, or mark of punctuation, that one with a stroke, a hook or another shape is taken for."""
    if c.isascii() or c in _IN_NAMES:
        return _IN_NAMES.get(c, c)
    if unicodedata.category(c) == "Pd":
        return "-"
    if c in "\u02bc\u02bb\u02b9":  # letters, by their category
        return "'"
    name = unicodedata.name(c, "")
    bare = name.partition(" WITH ")[0]
    if name.startswith("LATIN") and (found := _LAST.search(bare)):
        return found[1].lower() if found[1] else _NAMED.get(found[2], c)
    try:
        return unicodedata.lookup(bare) if bare != name else c
    except KeyError:
        return c


def _is_letter(c: str) -> bool:
    return unicodedata.category(c)[0] == "L" and "FILLER" not in unicodedata.name(c, "FILLER")


def _is_mark(c: str) -> bool:
    """One that shows, above, below or beside a letter: an accent, or a vowel's sign."""
    return unicodedata.category(c) in ("Mn", "Mc") and not _UNSEEN.match(c)


def _is_accent(c: str) -> bool:
    """A mark without which a letter reads alike; the vowels' signs of the scripts of India are none."""
    if unicodedata.category(c)[0] != "M":
        return False
    return not _is_mark(c) or unicodedata.combining(c) != 0 or unicodedata.name(c).startswith("COMBINING")


def _script(letter: str) -> str:
    """Near enough: the first word of its name, such as LATIN."""
    return "LATIN" if letter.isascii() else re.split("[ -]", unicodedata.name(letter, "?"), maxsplit=1)[0]
