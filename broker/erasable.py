"""What one controller may erase: found by an identifier or by id, and what of it must be left alone.

Owns who may find what. A requester finds by the identifiers that it gave, a provider by all that it matched: an
agency that could find by another would learn whose it is. Of its people's own looks only the words go:
who looked for whom stays. Refuses to look while the search index is behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from broker.core import canonical
from broker.core.acted import acted_for
from broker.core.canonical import Json
from broker.core.model import Caller, SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import people, person
from broker.core.sights import terms_of
from broker.core.vocabulary import KEPT, LOOKS_KEPT
from broker.errors import IndexBehind, InvalidRequest, NotAllowed
from broker.givenup import SIDES, Erasable, Found, Part, What, counts
from broker.heritage import district_of
from broker.holds import Holds
from broker.keeping import Keeping
from broker.lanes import by_steps
from broker.ports import Clock, Hit, Hits, LogSearch

_PAGE = 64  # entries: what reads one holds everything else up for as long
MOST_FOUND = 10_000  # entries that one look finds; more are erased by their ids
_CHUNK = 500  # entries looked at in one statement
_PATIENCE = 10.0  # seconds that the index has to reach the head
_PAUSE = 0.2
_NONE = "there is no such entry that your agency may erase"


class Finder:
    """Finds it."""

    def __init__(self, index: LogSearch, keeping: Keeping, holds: Holds, clock: Clock) -> None:
        self._index = index
        self._keeping = keeping
        self._holds = holds
        self._clock = clock

    async def find(self, caller: Caller, what: What, words_only: bool) -> Found:
        """What the caller's agency may erase now. Raises NotAllowed, IndexBehind, AuditUnavailable."""
        own = await self._holds.own(caller)
        if isinstance(what, SubjectRef):
            return await self._sorted(await self._about(caller, own, what), own, what)
        but = await self._holds.left_to_others(caller)
        hits = [await self._by_id(own, but, each) for each in what]
        if not words_only:
            _refuse_kept(hits)
        seen = [_seen(hit, own, None, _known(hit, own)) async for hit in by_steps(hits)]
        found = await self._sorted(seen, own, None)
        if not words_only:
            return found
        only = Erasable(0, found.erasable.words, 0, found.erasable.held, found.erasable.waiting, 0)
        return replace(found, entries=(), directives=(), rulings=frozenset(), erasable=only)

    async def _about(self, caller: Caller, own: frozenset[str], subject: SubjectRef) -> list[_Seen]:
        """All that these agencies are party to, and find by this identifier, in every half-year's log."""
        await self._whole()
        but = await self._holds.left_to_others(caller)
        found = dict[str, _Seen]()
        for party in sorted(own):
            async for hit in self._of_party(party, subject):
                if subject in (by := _known(hit, own)) and not _of_others(hit, but):
                    found[hit.id] = _seen(hit, own, subject, by)
                if len(found) > MOST_FOUND:
                    raise InvalidRequest(
                        "person",
                        f"your agency has over {MOST_FOUND} entries by this identifier: have them erased by "
                        "their ids, in several plans",
                    )
        return [*found.values()]

    async def _of_party(self, party: str, subject: SubjectRef) -> AsyncIterator[Hit]:
        """What it is party to and may be about somebody, in every half-year's log; others' is not read."""
        asked, log, beyond = frozenset({person(subject)}), "", -1
        while True:
            page = await self._index.find(
                asked, beyond, _PAGE, newest_first=False, since=None, until=None, log=log, party=party
            )
            async for hit in by_steps(page.found):
                yield hit
            log = page.log  # should it be rotated meanwhile, the next page is of the same
            if len(page.found) == _PAGE:
                beyond = page.found[-1].index
            elif page.older:
                log, beyond = page.older, -1
            else:
                return

    async def _by_id(self, own: frozenset[str], but: Mapping[str, frozenset[str]], entry: str) -> Hit:
        """An entry that one of these agencies is party to. Raises NotAllowed, in the same words for none."""
        try:
            hit = await self._index.entry(entry)
        except KeyError:
            raise NotAllowed(_NONE) from None
        if own.isdisjoint({hit.requester, hit.provider}) or Audience.FULL.value not in hit.views:
            raise NotAllowed(_NONE)
        if _of_others(hit, but):
            raise NotAllowed(_NONE)
        return hit

    async def _sorted(self, seen: list[_Seen], own: frozenset[str], subject: SubjectRef | None) -> Found:
        now = self._clock.now()
        held, waiting = set[str](), set[str]()
        rulings, spoken = set[tuple[str, str]](), set[str]()
        attached = await self._keeping.attached((), subject, own, now)
        for start in range(0, len(seen), _CHUNK):
            some = [each.id for each in seen[start : start + _CHUNK]]
            found = await self._keeping.attached(some, subject, own, now)
            held |= found.held
            waiting |= found.waiting
            rulings |= found.rulings
            spoken |= found.worded
        standing = set(attached.standing) | set(attached.held_directives)
        waiting |= {each.id for each in seen if each.recorded in standing} - held
        free = [each for each in seen if each.id not in held and each.id not in waiting]
        # A human's decision on a request is its provider's: whoever asked has no say over those words.
        written = [each.id for each in free if each.ours]
        worded = frozenset(each for each in written if each in spoken)
        looks = [each.id for each in free if each.look]
        parts = {each.id: each.part for each in free if each.id in worded or not each.look}
        going = [each.id for each in free if not each.look]
        return Found(
            tuple(going),
            tuple(each for each in written if each in parts),
            attached.directives,
            frozenset(rulings),
            Erasable(
                len(going),
                len(worded),
                len(attached.directives),
                len(held) + len(attached.held_directives),
                len(waiting),
                len(attached.standing),
                counts(parts[each].others for each in going),
                counts(parts[each].schemes for each in going),
                len(looks),
            ),
            worded,
            parts,
            frozenset({subject} if subject else ()),
            frozenset(held | waiting | set(attached.held_directives)),
        )

    async def _whole(self) -> None:
        """The index has reached the end of every log and left nothing out. Raises IndexBehind: none is missed
        silently."""
        until = self._clock.loop_time() + _PATIENCE
        while (page := await self._behind()) is not None:
            if self._clock.loop_time() >= until:
                raise IndexBehind(
                    f"the search index has reached entry {page.done} of {page.size} of {page.log}, so some may "
                    "not be found yet; try again when it has caught up (broker audit search says how far it is)"
                )
            await self._clock.until(self._clock.loop_time() + _PAUSE)
        if (missed := await self._keeping.missed()) is not None:
            log, index = missed
            raise IndexBehind(
                f"the search index has left out entry {index} of {log}; it must be made anew first (broker "
                "audit index rebuild)"
            )

    async def _behind(self) -> Hits | None:
        """A look at a log whose index does not hold all that it should: less while it is made anew."""
        nothing, log = frozenset({person(SubjectRef("none", "none"))}), ""
        while True:
            page = await self._index.find(nothing, -1, 1, newest_first=False, since=None, until=None, log=log)
            if page.done < page.size:
                return page
            if not page.older:
                return None
            log = page.older


def _refuse_kept(hits: list[Hit]) -> None:
    """What was done to the evidence, and to what decisions read, is erased by nobody for its own sake."""
    for hit in hits:
        if (event := str(hit.full.get("event"))) in KEPT:
            raise InvalidRequest(
                "event_ids",
                f"{hit.id} says what was done here ({event}): by itself it stays. Words in it go by themselves "
                "(words_only)",
            )


def _known(hit: Hit, own: frozenset[str]) -> frozenset[SubjectRef]:
    """The identifiers by which agencies among these, as its parties, find the entry in their own views."""
    known = frozenset[SubjectRef]()
    for agency, audience in ((hit.requester, Audience.REQUESTER), (hit.provider, Audience.PROVIDER)):
        view = hit.views.get(audience.value)
        if agency in own and view is not None:
            known |= people(terms_of(hit.full, audience, canonical.decode_object(view)))
    return known


def _of_others(hit: Hit, but: Mapping[str, frozenset[str]]) -> bool:
    """Whether it is of an agency whose place others have taken there, and of none of the caller's own."""
    parties = {hit.requester, hit.provider} & but.keys()
    return bool(parties) and all(district_of(hit.full) in but[each] for each in parties)


class _Seen(Struct, frozen=True):
    """What is needed of an entry that was found: thousands are held at once, and the collector of garbage would
    go through all that they say."""

    id: str
    recorded: str  # the directive that it recorded, or empty
    ours: bool  # somebody of these agencies acted in it
    look: bool  # one that is kept
    part: Part


def _seen(hit: Hit, own: frozenset[str], subject: SubjectRef | None, known: frozenset[SubjectRef]) -> _Seen:
    """`subject` is the identifier that it was found by, if any, and `known` all by which these agencies find
    it."""
    return _Seen(
        hit.id,
        _recorded(hit),
        acted_for(hit.full) in own,
        hit.full.get("event") in LOOKS_KEPT,
        _part(hit, own, subject, known),
    )


def _part(hit: Hit, own: frozenset[str], subject: SubjectRef | None, known: frozenset[SubjectRef]) -> Part:
    """What these agencies give up of an entry."""
    full = hit.full
    others = {str(each) for each in (full.get("requester"), full.get("provider")) if each} - own
    return Part(
        known,
        _actor(full) if acted_for(full) in own else "",
        frozenset(others),  # told of it or not
        _schemes(hit, own, subject),
        _only(hit, own),
        frozenset(each for each in (*others, hit.requester, hit.provider) if each),
    )


def _only(hit: Hit, own: frozenset[str]) -> str:
    """The side of an entry whose part alone these agencies give up; empty where no other has one."""
    parties = {side for side in SIDES if side in hit.views and hit.full.get(side)}
    kept = {side for side, agency in zip(SIDES, (hit.requester, hit.provider), strict=True) if agency in own}
    return kept.pop() if len(kept) == 1 and parties - kept else ""


def _actor(full: dict[str, Json]) -> str:
    actor = full.get("actor")
    return str(actor.get("id", "")) if isinstance(actor, dict) else ""


def _recorded(hit: Hit) -> str:
    """The id of the directive that an entry recorded; empty where it recorded none."""
    detail = hit.full.get("detail")
    recorded = hit.full.get("event") == "directive-recorded" and isinstance(detail, dict)
    return str(detail.get("id", "")) if recorded and isinstance(detail, dict) else ""


def _schemes(hit: Hit, own: frozenset[str], subject: SubjectRef | None) -> frozenset[str]:
    """Under which other schemes the provider knows the person: for it alone to see, and to decide on."""
    known = hit.full.get("identifiers")
    if subject is None or hit.provider not in own or not isinstance(known, list):
        return frozenset()
    found = {(str(each["scheme"]), each["value"]) for each in known if isinstance(each, dict)}
    return frozenset(scheme for scheme, value in found if (scheme, value) != (subject.scheme, subject.value))
