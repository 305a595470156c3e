"""Keeps N workers running: starts them, starts again what has died, replaces them one by one.

A worker's successor starts first and takes over when it is ready; only then is the worker told to leave. So a
restart for a new release, or for settings that cannot be read again, costs no capacity and no request.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import structlog

from broker.cli.workers.member import Member, start
from broker.cli.workers.ports import reserved
from broker.cli.workers.signals import Signals
from broker.config import Settings
from broker.errors import SetupError
from broker.readyfile import write_ready
from broker.workers import BEAT

TICK = 0.1
ACQUAINTED = 1.3 * BEAT
START_WITHIN = 90.0
# Beyond the time that a worker gives its requests: the log's last entries, closing connections.
LEAVE_MARGIN = 15.0
# A worker that is stopped keeps its share of new connections and answers none of them.
SILENT = 10.0
# Starts in a row of one worker that did not get as far as ready.
TRIES = 3
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
# A worker that lived so long before it died starts from the shortest pause again.
GOOD_LIFE = 60.0

_diagnostics = structlog.get_logger("broker.workers")


class _Stop(Exception):  # noqa: N818 - not an error
    """We were told to."""


@dataclass(slots=True, eq=False)
class _Place:
    """Where one worker belongs; empty between a death and the next start."""

    number: int
    member: Member | None = None
    failed_starts: int = 0
    deaths: int = 0
    not_before: float = 0.0
    being_replaced: bool = False


class Supervisor:
    """Runs the workers. `run` from the main thread."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self._settings = settings
        self._places = [_Place(number) for number in range(workers)]
        self._members: set[Member] = set()
        self._generations = count()
        self._signals = Signals()
        self._ports = (0, 0)
        self._folder = Path()
        self._whole = False
        self._said: list[dict[str, Any]] = []

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises SetupError when workers cannot be started."""
        host = self._settings.host
        with ExitStack() as stack:
            stack.enter_context(self._signals)
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-workers-")))
            self._ports = (
                stack.enter_context(reserved(host, self._settings.grpc_port, "BROKER_GRPC_PORT")),
                stack.enter_context(reserved(host, self._settings.http_port, "BROKER_HTTP_PORT")),
            )
            stack.callback(self._end_all)
            try:
                self._start_all()
                while True:
                    self._tick()
                    if self._signals.replace:
                        self._signals.replace = False
                        self._replace_all()
            except _Stop:
                _diagnostics.info("stopping")

    def _start_all(self) -> None:
        """The first alone: it migrates an empty database, makes keys, enrols the first operator."""
        everywhere, self._places = self._places, self._places[:1]
        self._until(self._all_ready)
        self._places = everywhere
        self._until(self._all_ready)
        # By then each has seen the others, so that an adapter is told of all of them at its first link.
        acquainted = monotonic() + ACQUAINTED
        self._until(lambda: monotonic() >= acquainted and self._all_ready())
        self._whole = True
        self._tell()
        _diagnostics.info("ready", grpc=self._ports[0], http=self._ports[1], workers=len(self._places))

    def _replace_all(self) -> None:
        """Each in turn: its successor becomes ready, then it leaves."""
        _diagnostics.info("replacing the workers, one by one")
        for place in self._places:
            old = place.member
            if old is None or not old.ready:
                continue  # it has died, and its successor is on its way
            place.being_replaced = True
            try:
                if not self._replace(place, old):
                    return
            finally:
                place.being_replaced = False
        _diagnostics.info("replaced the workers")

    def _replace(self, place: _Place, old: Member) -> bool:
        new = self._start(place.number)
        self._until(lambda: new.ready or not new.child.alive or new.age > START_WITHIN)
        if not new.ready:
            self._forget(new)
            _diagnostics.error(
                "a successor did not become ready; the workers stay as they are", worker=place.number
            )
            return False
        place.member = new
        place.failed_starts = place.deaths = 0
        old.leave()
        self._until(lambda: old not in self._members)
        return True

    def _tick(self) -> None:
        """One look at everything. Raises _Stop, SetupError."""
        self._signals.wait(TICK)
        if self._signals.stop:
            raise _Stop
        for member in list(self._members):
            if member.told_to_leave is not None:
                self._see_off(member)
        for place in self._places:
            if not place.being_replaced:
                self._mend(place)
        self._tell()

    def _mend(self, place: _Place) -> None:
        """Start a worker where none runs, once its pause is over; take note where one has ended."""
        member = place.member
        if member is None:
            if monotonic() >= place.not_before:
                place.member = self._start(place.number)
        elif not member.child.alive or (not member.ready and member.age > START_WITHIN):
            self._died(place, member)
        elif member.ready and member.silent(SILENT):
            _diagnostics.error("a worker is stopped or stuck, and is killed", worker=place.number)
            self._died(place, member)
        elif member.ready:
            place.failed_starts = 0

    def _died(self, place: _Place, member: Member) -> None:
        place.member = None
        self._forget(member)
        was_ready = member.ready
        place.failed_starts = 0 if was_ready else place.failed_starts + 1
        place.deaths = 1 if member.age > GOOD_LIFE else place.deaths + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(place.deaths - 1, 10)))
        place.not_before = monotonic() + pause
        _diagnostics.error("a worker ended", worker=place.number, how=member.child.ending, next_in=pause)
        others_serve = any(p.member is not None and p.member.ready for p in self._places)
        if place.failed_starts >= TRIES and not (self._whole and others_serve):
            raise SetupError(
                f"worker {place.number} ended {TRIES} times before it was ready ({member.child.ending}); it has"
                " said why above. Nothing serves now"
            )

    def _start(self, number: int) -> Member:
        member = start(self._settings, number, next(self._generations), self._ports, self._folder)
        self._members.add(member)
        return member

    def _forget(self, member: Member) -> None:
        member.kill()
        self._members.discard(member)

    def _see_off(self, member: Member) -> None:
        settings = self._settings
        # First its clients are led to others, then it finishes what they left.
        leaves_within = 1.1 * settings.connection_seconds + settings.drain_seconds
        overdue = member.overdue(leaves_within + LEAVE_MARGIN)
        if overdue and member.child.alive:
            _diagnostics.error("a worker did not leave in time and is killed", worker=member.number)
        if overdue or not member.child.alive:
            self._forget(member)

    def _tell(self) -> None:
        """Write the ready file once all are ready, and again whenever a worker has been replaced."""
        path = self._settings.ready_file
        if path is None or not self._whole or not self._all_ready():
            return
        said = [place.member.said for place in self._places if place.member and place.member.said]
        if said != self._said:
            self._said = said
            workers = [each for one in said for each in one["workers"]]
            write_ready(path, {**said[0], "workers": workers})

    def _all_ready(self) -> bool:
        return all(place.member is not None and place.member.ready for place in self._places)

    def _until(self, done: Callable[[], bool]) -> None:
        """Tick until `done()`. What is waited for has bounds of its own."""
        while not done():
            self._tick()

    def _end_all(self) -> None:
        for member in self._members:
            member.leave()
        while self._members:
            self._signals.wait(TICK)
            for member in list(self._members):
                self._see_off(member)
