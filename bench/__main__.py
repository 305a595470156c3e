"""`python -m bench`: everything that is measured, on this machine."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
from pathlib import Path

from bench import decisions, log, spine
from bench.rig import running


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats; medians are shown")
    parser.add_argument("--scale", type=float, default=1.0, help="fewer or more requests in each run")
    parser.add_argument("--folder", type=Path, help="where PostgreSQL's files lie")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.folder) as made:
        folder = Path(made)
        kind = subprocess.run(["stat", "-f", "-c", "%T", made], capture_output=True, text=True, check=False)
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {kind.stdout.strip()}, ", end="")
        print(
            f"fsync {spine.fsync_ms(folder):.2f} ms, synchronous_commit=on, {args.repeats} repeats\n",
            flush=True,
        )
        with running(folder / "state") as rig:
            print(spine.measure(rig, args.repeats, args.scale), flush=True)
            bare_us = rig.bare(1, max(50, int(1000 * args.scale)))["p50_ms"] * 1000
        print(f"\n{decisions.measure(bare_us)}\n", flush=True)
        (folder / "log").mkdir(mode=0o755)
        print(log.both(folder / "log", args.repeats, args.scale))


if __name__ == "__main__":
    main()
