"""`python -m adapters.fire`: serve PremisesRisk. With `--load-demo`: put synthetic premises in, and end.

The risk system is `BROKER_FIRE_DATABASE_URL`; how to reach the broker is `BROKER_ADAPTER_*`.
"""

from __future__ import annotations

import argparse
import os

from adapters.fire.source import SCHEME, load_demo, risk_system
from adapters.sdk import Provides, SetupError, run, serve

RECORD_TYPE = "records.fire.v1.PremisesRisk"


async def _main(demo: bool) -> None:
    url = os.environ.get("BROKER_FIRE_DATABASE_URL")
    if not url:
        raise SetupError("BROKER_FIRE_DATABASE_URL must say where the risk system's database is")
    if demo:
        await load_demo(url)
        return
    async with risk_system(url) as source:
        await serve(source.answer, [Provides(RECORD_TYPE, (SCHEME,))], software="fire-adapter")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m adapters.fire", description=__doc__)
    parser.add_argument("--load-demo", action="store_true", help="load the schema and synthetic premises")
    run(_main(parser.parse_args().load_demo))


if __name__ == "__main__":
    main()
