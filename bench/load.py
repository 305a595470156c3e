"""A partner under load: the shipped client, which verifies every receipt. One JSON line of what it took."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import uvloop

import broker  # noqa: F401 - sets the cipher list before grpc is imported
from bench.bare import timed
from broker.client import Actor, Assurance, Broker

RECORD_TYPE = "records.fire.v1.PremisesRisk"
_ACTOR = Actor(id="nwas-51180", role="ambulance-crew", callsign="AC412", assurance=Assurance.ROSTER)
FIRST_UPRN = 100_100_000_000
PEOPLE = 100_000


async def load(state: Path, in_flight: int, total: int, *, unary: bool) -> dict[str, float]:
    """So many requests, so many at a time."""
    async with Broker.from_state(state, "nwas-cad", unary=unary) as client:

        async def one(n: int) -> None:
            await client.request(
                record_type=RECORD_TYPE,
                provider="cfrs",
                subject=("uprn", str(FIRST_UPRN + n % PEOPLE)),
                purpose="emergency-response",
                actor=_ACTOR,
                timeout=20,
            )

        await one(0)
        return await timed(one, in_flight, total)


def main() -> None:
    """Run one load."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--total", type=int, default=2000)
    parser.add_argument("--unary", action="store_true")
    args = parser.parse_args()
    print(json.dumps(uvloop.run(load(args.state, args.in_flight, args.total, unary=args.unary))))


if __name__ == "__main__":
    main()
