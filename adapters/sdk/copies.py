"""An agency's own copies of its agreements: a folder of TOML files, each with its agency's signature beside it.

Owns verifying them with the agency's own pinned keys, and following the folder as it changes. A file counts
only with a signature by this agency over its exact bytes; the other parties' are the broker's affair. Refused:
unsigned and altered files, and two different ones that claim one id and version. Where a file that counted
cannot be read or parsed, its last good version stays: that was signed, and somebody may just be writing. Where
a file or its signature is gone, so is the agreement.

An older version counts while its file is there, so that a change need not happen here and at the broker in
the same second; take it away once the new one is applied.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from adapters.sdk.agreed import Agreed
from broker.core import agreement as agreements
from broker.core.agreement import Agreement
from broker.core.signature import Signature, file_name
from broker.core.signingkey import SigningKey, key_id
from broker.core.statement import MAX_STATEMENT
from broker.errors import IntegrityError, InvalidRequest, ProviderTimeout, SetupError
from broker.pki.signing import read_public_keys

log = logging.getLogger("adapters.sdk")

LOOK_EVERY = 1.0  # seconds
MAX_FILES = 1000
_Stamp = tuple[tuple[int, ...], ...]


class _Unreadable(Exception):  # noqa: N818 - never leaves this file
    """A file that may be whole again in a moment."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """One file as it was last looked at; `agreement` is None where it does not count."""

    stamp: _Stamp
    agreement: Agreement | None
    digest: str = ""


class Copies:
    """Follows a folder; `current` gives what is agreed now."""

    def __init__(self, folder: Path, keys: Path, agency: str) -> None:
        """Reads everything once. Raises SetupError where the folder or the keys cannot be used at all."""
        if not folder.is_dir():
            raise SetupError(f"{folder} is no folder; it must hold the agency's signed agreements")
        self._folder, self._keys, self._agency = folder, keys, agency
        self._copies: dict[str, _Copy] = {}
        self._trouble: list[str] = []
        self._following: asyncio.Task[None] | None = None
        self._pinned_as = _stamp(keys)
        self._pinned = _pinned(keys, agency)
        self._agreed = Agreed.of(agency, (), self._pinned)
        self._look()
        self._looked = time.monotonic()
        log.info("%d agreements signed by %s", len(self._agreed), agency)

    def at_hand(self) -> Agreed | None:
        """What is agreed, as of at most a second ago; None where the folder has to be looked at for it."""
        looked = self._following is None and time.monotonic() - self._looked < LOOK_EVERY
        return self._agreed if looked else None

    async def current(self, within: float) -> Agreed:
        """What is agreed, as of at most a second ago. Raises ProviderTimeout where that takes longer than
        `within` seconds: a folder that hangs is not a reason to go on without it."""
        if self._following is None and time.monotonic() - self._looked >= LOOK_EVERY:
            self._looked = time.monotonic()
            self._following = asyncio.create_task(asyncio.to_thread(self._follow))
            self._following.add_done_callback(self._followed)
        if (following := self._following) is not None:
            await asyncio.wait({following}, timeout=within)
            if not following.done():
                raise ProviderTimeout("the agency's agreements could not be read in time")
            following.result()
        return self._agreed

    def _followed(self, _following: asyncio.Task[None]) -> None:
        self._following = None

    def _follow(self) -> None:
        """Take up what has changed. What cannot be read at all leaves what was good, and is said once."""
        trouble = []
        for step in (self._pin, self._look):
            try:
                step()
            except (OSError, SetupError) as e:
                trouble.append(str(e))
        if trouble and trouble != self._trouble:
            log.error("the agreements stay as they were: %s", "; ".join(trouble))
        self._trouble = trouble

    def _pin(self) -> None:
        stamp = _stamp(self._keys)
        if stamp != self._pinned_as:
            self._pinned = _pinned(self._keys, self._agency)
            self._pinned_as = stamp
            # What an unpinned key has signed must not stay, however its file reads now.
            self._copies, self._agreed = {}, Agreed.of(self._agency, (), self._pinned)

    def _look(self) -> None:
        names = sorted(path.name for path in self._folder.iterdir() if path.suffix == ".toml")
        if len(names) > MAX_FILES:
            raise SetupError(f"{self._folder} holds more than {MAX_FILES} agreements")
        copies = {name: self._examined(name) for name in names}
        if copies != self._copies:
            self._copies = copies
            self._agreed = Agreed.of(self._agency, _unambiguous(copies.values()), self._pinned)

    def _examined(self, name: str) -> _Copy:
        file, beside = self._folder / name, self._folder / file_name(name, self._agency)
        stamp, before = _stamp(file, beside), self._copies.get(name)
        if before is not None and before.stamp == stamp:
            return before
        try:
            return self._verified(file, beside, stamp)
        except _Unreadable as e:
            stays = "its last good version stays" if before and before.agreement else "it does not count"
            log.error("%s: %s; %s", name, e, stays)  # noqa: TRY400
            return _Copy(stamp, before.agreement, before.digest) if before else _Copy(stamp, None)
        except IntegrityError as e:
            log.error("%s does not count: %s", name, e)  # noqa: TRY400
            return _Copy(stamp, None)

    def _verified(self, file: Path, beside: Path, stamp: _Stamp) -> _Copy:
        """Raises IntegrityError where the file does not count, _Unreadable where that cannot be said."""
        if not beside.exists():
            raise IntegrityError(f"{self._agency} has not signed it: there is no {beside.name}")
        data = _read(file, agreements.MAX_FILE)
        try:
            signature = Signature.from_bytes(_read(beside, MAX_STATEMENT))
        except IntegrityError as e:
            raise _Unreadable(f"{beside.name}: {e}") from None
        key = self._pinned.get(signature.key_id)
        if key is None:
            raise IntegrityError(f"it is signed with a key that is not in {self._keys.name}")
        signature.verify(data, key)
        try:
            agreement = agreements.read(data)
        except InvalidRequest as e:
            raise _Unreadable(str(e)) from None
        return _Copy(stamp, agreement, hashlib.sha256(data).hexdigest())


def _unambiguous(copies: Iterable[_Copy]) -> Iterator[Agreement]:
    """Those that count, but for different ones of one id and version: which is meant nobody can say."""
    found: dict[str, dict[str, Agreement]] = {}
    for copy in copies:
        if copy.agreement is not None:
            found.setdefault(copy.agreement.label, {})[copy.digest] = copy.agreement
    for label, same in found.items():
        if len(same) > 1:
            log.error("two different files are %s; neither counts", label)
        else:
            yield from same.values()


def _pinned(keys: Path, agency: str) -> dict[str, SigningKey]:
    """The keys of the file by id. They have no days here: who takes one out of the file has ended it."""
    raw = [key.public_bytes_raw() for key in read_public_keys(keys)]
    return {key_id(public): SigningKey(agency, public, valid_from=date.min) for public in raw}


def _stamp(*files: Path) -> _Stamp:
    """What changes whenever one of the files does, its coming and going included."""
    found: list[tuple[int, ...]] = []
    for file in files:
        try:
            stat = file.stat()
        except FileNotFoundError:
            found.append(())
        else:
            found.append((stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_size))
    return tuple(found)


def _read(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as e:
        raise _Unreadable(f"cannot be read: {e.strerror}") from None
    if len(data) > most:
        raise _Unreadable(f"{file.name} is larger than {most} bytes")
    return data
