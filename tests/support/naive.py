"""`python -m tests.support.naive`: a broker worker as somebody in a hurry would have made it, with a cache.

Everything is the product's but for one port: what has been said about a person is remembered for 100 ms, while
the counters come fresh with each read, so that no append is ever given back for what the cache has missed.
"""

from __future__ import annotations

from time import monotonic

from msgspec.structs import replace

from broker.compose import running
from broker.core.directive import Directive
from broker.core.model import SubjectRef
from broker.ports import Asked, Facts, FactsSource
from tests.support.altered import serve

KEPT = 0.1  # seconds


class Cached:
    """A FactsSource that answers from memory about whom it has just been asked."""

    def __init__(self, real: FactsSource) -> None:
        self._real = real
        self._said: dict[SubjectRef, tuple[float, tuple[Directive, ...]]] = {}

    async def read(self, asked: Asked) -> Facts:
        """The counters and claims of now, with words up to `KEPT` old."""
        facts, now = await self._real.read(asked), monotonic()
        for subject in asked.subjects:
            since, _ = self._said.get(subject, (0.0, ()))
            if now - since > KEPT:
                self._said[subject] = (now, facts.directives.get(subject, ()))
        said = {s: words for s in asked.subjects if (words := self._said[s][1])}
        return replace(facts, directives=said)


if __name__ == "__main__":
    serve(lambda settings: running(settings, Cached))
