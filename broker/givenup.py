"""What one controller gives up by an erasure: its part of each entry, and all of it in counts.

Owns that counts are of what is really taken: narrowed to fewer entries, all of them are made anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from broker.core.model import SubjectRef
from broker.core.receipt import Audience

SIDES = (Audience.REQUESTER.value, Audience.PROVIDER.value)
# A person by an identifier, or entries by id.
What = SubjectRef | tuple[str, ...]


class Erasable(Struct, frozen=True):
    """What one controller's erasure of a person would do, or did, in counts: `entries` of which its part goes,
    `words` of those, `directives`; left alone are what is `held`, what is `waiting` for its own humans, and
    directives that are `standing`. `others` are the agencies that may keep their own part of how many, as the
    caller's view names them: whether a provider was told of a request is not for the requester to see here.
    `known_by` are other schemes under which the person is known in how many that the caller provided.
    """

    entries: int
    words: int
    directives: int
    held: int
    waiting: int
    standing: int
    others: dict[str, int] = {}
    known_by: dict[str, int] = {}


class Part(Struct, frozen=True):
    """The caller's part of one entry: `people` are the identifiers by which the caller finds it, `maker` is who
    of the caller's agency made it (empty: nobody of theirs), `others` are the other agencies that it names,
    `schemes` those under which the caller knows the person beside the one asked by, and `side` the one of the
    two that alone goes, the other's being another agency's, given up or not (empty: all of it is the
    caller's). `parties` are all agencies whose holds may cover it."""

    people: frozenset[SubjectRef]
    maker: str
    others: frozenset[str]
    schemes: frozenset[str]
    side: str
    parties: frozenset[str] = frozenset()


class Found(Struct, frozen=True):
    """What may be erased now. `words` are of those entries whose words the caller's own people wrote, `worded`
    those that have any. `parts` are the entries by id; `named` is the identifier that they were asked for by,
    if any. `kept` are entries and directives that stay for now: held, or somebody's work still."""

    entries: tuple[str, ...]
    words: tuple[str, ...]
    directives: tuple[str, ...]
    rulings: frozenset[tuple[str, str]]
    erasable: Erasable
    worded: frozenset[str]
    parts: dict[str, Part]
    named: frozenset[SubjectRef]
    kept: frozenset[str]

    @property
    def makers(self) -> frozenset[str]:
        """Who of the caller's agency made any of them: asked, looked, recorded or decided."""
        return frozenset(each.maker for each in self.parts.values() if each.maker)

    @property
    def parties(self) -> frozenset[str]:
        """Every agency whose holds may cover any of them."""
        return frozenset[str]().union(*(each.parties for each in self.parts.values()))

    @property
    def one_sided(self) -> dict[str, list[str]]:
        """By its side, the entries of which one party's part alone goes."""
        return {side: [each for each in self.entries if self.parts[each].side == side] for side in SIDES}

    @property
    def known(self) -> dict[str, frozenset[SubjectRef]]:
        """The identifiers by which the caller finds each of them."""
        return {entry: part.people for entry, part in self.parts.items()}

    @property
    def about(self) -> frozenset[SubjectRef]:
        """Everybody whom they are about, as far as the caller may know."""
        return self.named.union(*(each.people for each in self.parts.values()))

    def only(self, entries: Collection[str], directives: Collection[str]) -> Found:
        """Of this no more than these entries, or their words, and directives."""
        chosen = tuple(each for each in self.entries if each in entries)
        words = tuple(each for each in self.words if each in entries)
        parts = {entry: part for entry, part in self.parts.items() if entry in entries}
        said = tuple(each for each in self.directives if each in directives)
        going = [parts[each] for each in chosen]
        told = replace(
            self.erasable,
            entries=len(chosen),
            words=len(self.worded.intersection(words)),
            directives=len(said),
            others=counts(each.others for each in going),
            known_by=counts(each.schemes for each in going),
        )
        return replace(self, entries=chosen, words=words, directives=said, parts=parts, erasable=told)


def together(taken: Sequence[Erasable]) -> Erasable:
    """What was taken one after the other, at least once; left alone is what was at the last."""
    return replace(
        taken[-1],
        entries=sum(each.entries for each in taken),
        words=sum(each.words for each in taken),
        directives=sum(each.directives for each in taken),
        others=_sums([each.others for each in taken]),
        known_by=_sums([each.known_by for each in taken]),
    )


def counts(each: Iterable[frozenset[str]]) -> dict[str, int]:
    """In how many of these each stands, in order."""
    return dict(sorted(Counter(chain.from_iterable(each)).items()))


def _sums(each: Iterable[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for one in each:
        total.update(one)
    return dict(sorted(total.items()))
