"""Keeps an adapter attached: one link to every live worker of the broker, redialled when lost.

Dials the shared address first; the welcome names all workers, and each that has no link yet is dialled at its
own address. Owns the set of links, the waiting between tries and the draining at the end. The requests an
adapter takes at once are shared out among its links.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence

from adapters.sdk import settings as _settings
from adapters.sdk.answer import AnswerFunction
from adapters.sdk.desk import Desk
from adapters.sdk.link import Link, Watcher
from adapters.sdk.provides import Provides, resolve
from adapters.sdk.settings import AdapterSettings
from broker.errors import BrokerError, LinkLost
from broker.tracing import OFF, Tracing
from broker.v1 import adapter_pb2

log = logging.getLogger("adapters.sdk")

_SHARED = ""
# A link that lived this long was a good one: the next try starts from the shortest wait again.
_GOOD_LIFE = 5.0
_MOST_WORKERS = 64


class Attach:
    """Answers asks with `answer` on links to every worker, until `run`'s stop is set."""

    def __init__(
        self,
        settings: AdapterSettings,
        provides: Sequence[Provides],
        answer: AnswerFunction,
        *,
        software: str,
        settled: Callable[[str, bool], None] | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        self.attached = asyncio.Event()
        self._settings = settings
        self._provides = tuple(provides)
        self._software = software
        self._desk = Desk(answer, [], settings.at_once, _settings.copies(settings), tracing)
        self._watcher = Watcher(
            self._welcomed, self._changed, self._listed, settled or (lambda effect_key, released: None)
        )
        self._links: list[Link] = []
        self._workers: dict[str, adapter_pb2.Worker] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._holds: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._changes = asyncio.Event()
        self._stopping = False
        self._broken = asyncio.Event()
        self._defect: BaseException | None = None

    def links(self) -> dict[str, int]:
        """Ids of the workers linked now, with the asks outstanding on each."""
        return {link.worker.id: link.outstanding for link in self._links}

    async def covered(self) -> None:
        """Return once attached, and linked to every worker that is listed with an address of its own."""
        while True:
            await self.attached.wait()
            linked = {link.worker.id for link in self._links}
            if all(id_ in linked or not worker.address for id_, worker in self._workers.items()):
                return
            self._changes.clear()
            await self._changes.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Stay attached until `stop` is set; then drain for at most `drain_within` and return."""
        self._start_keeper(_SHARED, self._settings.target)
        stopped = asyncio.create_task(stop.wait())
        broken = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait({stopped, broken}, return_when=asyncio.FIRST_COMPLETED)
            if self._defect is not None:
                raise self._defect
            await self._drain()
        finally:
            tasks = [stopped, broken, *self._keepers.values(), *self._holds]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.attached.clear()

    def _start_keeper(self, worker: str, address: str) -> None:
        keeper = asyncio.create_task(self._keep(worker, address))
        self._keepers[worker] = keeper
        keeper.add_done_callback(self._keeper_ended)

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        # A defect of ours must end the process, not leave it running without a link.
        if not keeper.cancelled() and (defect := keeper.exception()) is not None:
            self._defect = defect
            self._broken.set()

    async def _drain(self) -> None:
        self._stopping = True
        deadline = time.monotonic() + self._settings.drain_within
        for link in self._links:
            link.leave()
        while self._links and (left := deadline - time.monotonic()) > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                break
        if self._links:
            log.warning("left with %d asks unanswered", sum(link.outstanding for link in self._links))

    async def _keep(self, worker: str, address: str) -> None:
        """Keep one link: the shared one, or that to a listed worker until it is listed no more."""
        tries = 0
        while not self._stopping and (worker == _SHARED or worker in self._workers):
            if self._needless(worker):
                self._news.clear()
                await self._news.wait()
                continue
            started = time.monotonic()
            await self._held(address)
            tries = 0 if time.monotonic() - started > _GOOD_LIFE else tries + 1
            await asyncio.sleep(self._wait_before(tries))
        self._keepers.pop(worker, None)

    async def _held(self, address: str) -> None:
        """Hold a link until it ends, or until its worker says that it is going: then it serves on beside the
        one that replaces it."""
        going = asyncio.Event()
        hold = asyncio.create_task(self._hold(address, going))
        self._holds.add(hold)
        hold.add_done_callback(self._holds.discard)
        waiting = asyncio.create_task(going.wait())
        try:
            await asyncio.wait({hold, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if hold.done():
                hold.result()
        finally:
            waiting.cancel()

    def _wait_before(self, tries: int) -> float:
        """Seconds before the next try: doubling up to the cap, half of it by chance, so that a broker that
        comes back is not met by all adapters at once."""
        longest = min(self._settings.backoff_cap, self._settings.backoff_first * float(1 << min(tries, 16)))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing

    def _needless(self, worker: str) -> bool:
        covered = {link.worker.id for link in self._links if not link.going.is_set()}
        if worker != _SHARED:
            return worker in covered
        # Workers with an address of their own have their own keepers.
        return bool(covered) and all(id_ in covered or w.address for id_, w in self._workers.items())

    async def _hold(self, address: str, going: asyncio.Event) -> None:
        try:
            await self._link(address, going)
        except BrokerError as e:
            log.warning("link to %s: %s", address, e)

    async def _link(self, address: str, going: asyncio.Event) -> None:
        channel = _settings.channel(self._settings, address)
        link = None
        try:
            provided = await resolve(
                channel, self._provides, self._settings.digests, self._settings.welcome_within
            )
            self._desk.provide(provided)
            hello = adapter_pb2.Hello(
                software=self._software,
                provides=provided,
                at_once=self._settings.at_once,
                instance=self._settings.instance,
            )
            link = Link(
                self._desk,
                hello,
                self._watcher,
                going=going,
                expected_broker=self._settings.expected_broker,
                welcome_within=self._settings.welcome_within,
            )
            await link.run(channel)
        finally:
            if link is not None:
                self._forget(link)
            await channel.close()

    def _welcomed(self, link: Link) -> None:
        if any(other.worker.id == link.worker.id and not other.going.is_set() for other in self._links):
            raise LinkLost(f"worker {link.worker.id} has a link already")
        self._links.append(link)
        self.attached.set()
        self._changes.set()
        log.info("attached to worker %s, %d links", link.worker.id, len(self._links))
        self._share_out()
        if self._stopping:
            link.leave()

    def _forget(self, link: Link) -> None:
        if link not in self._links:
            return
        self._links.remove(link)
        if not self._links:
            self.attached.clear()
            # Nobody is left to say who lives: start again from the shared address.
            self._workers.clear()
        self._share_out()
        self._cover()

    def _changed(self, link: Link) -> None:
        log.info("worker %s is going", link.worker.id)
        self._cover()

    def _listed(self, workers: list[adapter_pb2.Worker]) -> None:
        self._workers = {w.id: w for w in workers[:_MOST_WORKERS]}
        self._changes.set()
        self._cover()

    def _cover(self) -> None:
        """Start a keeper for each listed worker that can be dialled and has no link; wake those that wait."""
        covered = {link.worker.id for link in self._links}
        for id_, worker in self._workers.items():
            if worker.address and id_ not in covered and id_ not in self._keepers and not self._stopping:
                self._start_keeper(id_, worker.address)
        self._news.set()

    def _share_out(self) -> None:
        if self._stopping or not self._links:
            return
        share = max(1, self._settings.at_once // len(self._links))
        for link in self._links:
            link.credit(share)
