"""`python -m bench.log`: the log alone, and what becomes of it in a million entries.

Embedded PostgreSQL as shipped and worker processes with the broker's own store: durable entries with views,
claims, index and proofs; no gRPC and no deciding. Runs are interleaved and medians shown; the million is
appended through the same path.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from broker.keys import FolderKeys
from broker.store.embedded import EmbeddedPostgres
from broker.store.pool import migrate

WORKERS = 2
MILLION = 1_000_000
# Each some 65,536 of a million: a run of the search index, in which an entry costs more and more.
PARTS = 15
PACE = 2_000.0
_TIMEOUT = 3600
_SIZES = """
select coalesce(t.relname, c.relname) as of, sum(pg_relation_size(c.oid))::bigint as bytes
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_index i on i.indexrelid = c.oid left join pg_class t on t.oid = i.indrelid
where n.nspname = 'public' and c.relkind in ('r', 'i')
group by 1 having sum(pg_relation_size(c.oid)) > 0 order by 2 desc
"""


@dataclass
class Bench:
    """A server, and a folder that workers share."""

    dsn: str
    folder: Path
    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def ask(self, sql: str) -> list[asyncpg.Record]:
        """Rows of one statement."""

        async def asked() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.dsn)
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()

        return asyncio.run(asked())

    def wal(self) -> int:
        """Bytes of write-ahead log so far."""
        return int(self.ask("select (pg_current_wal_insert_lsn() - '0/0')::bigint as bytes")[0]["bytes"])

    def size(self) -> int:
        """Entries of the log."""
        return int(self.ask("select coalesce(max(size), 0) as size from head")[0]["size"])

    def workers(self, what: str, count: int, **options: object) -> list[dict[str, Any]]:
        """What so many workers say, begun together."""
        begin = time.time() + 2.5
        argv = [sys.executable, "-m", "bench.log_worker", what, "--dsn", self.dsn, "--folder", str(self.folder)]
        for name, value in {**options, "begin": begin}.items():
            argv += [f"--{name.replace('_', '-')}", str(value)]
        started = [
            subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        told = []
        for each in started:
            out, err = each.communicate(timeout=_TIMEOUT)
            if each.returncode:
                raise RuntimeError(err[-2000:])
            told.append(json.loads(out))
        return told

    def say(self, what: str, measured: str, must: str, *, met: bool) -> None:
        """One row of the table."""
        self.rows.append((what, measured, must, met))
        print(f"{what}: {measured} (must: {must})", file=sys.stderr, flush=True)

    def table(self) -> str:
        """In Markdown."""
        lines = ["| log | measured | must | |", "|---|---|---|---|"]
        lines += [f"| {w} | {m} | {must} | {'met' if met else 'MISSED'} |" for w, m, must, met in self.rows]
        return "\n".join(lines)


@contextmanager
def running(folder: Path) -> Iterator[Bench]:
    """An empty store on the embedded server."""
    folder.mkdir(mode=0o755, exist_ok=True)
    with EmbeddedPostgres.start(folder / "state") as server:
        asyncio.run(migrate(server.dsn))
        shared = folder / "workers"
        shared.mkdir()
        FolderKeys(shared / "keys").signing_seed()
        yield Bench(server.dsn, shared)


def measure(bench: Bench, repeats: int, scale: float) -> str:
    """Short runs in turns; what a worker's processor time was."""
    each, paced = max(500, int(15_000 * scale)), max(500, int(10_000 * scale))
    bench.workers("append", WORKERS, total=max(100, each // 10))  # warm
    rates, costs, tails, batches, refused = [], [], [], [], 0
    for _ in range(repeats):
        told = bench.workers("append", WORKERS, total=each)
        rates.append(_rate(told, each))
        costs.append(statistics.mean(one["cpu_us"] for one in told))
        batches.append(statistics.mean(one["batch"] for one in told))
        held = bench.workers("paced", WORKERS, total=paced, per_second=PACE / WORKERS)
        late = sorted(1000 * seconds for one in held for seconds in one["latencies"])
        refused += sum(one["refused"] for one in held)
        tails.append((late[len(late) // 2], late[int(len(late) * 0.99)]))
    rate, tail = statistics.median(rates), statistics.median(p99 for _, p99 in tails)
    half = statistics.median(p50 for p50, _ in tails)
    bench.say(
        f"durable entries/s with proofs, {WORKERS} workers, {statistics.median(batches):.0f} a batch",
        f"{rate:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
        "8,000, aim 15,000",
        met=rate >= 8000,
    )
    bench.say(
        "append at 2,000/s open loop, p50 and p99",
        f"{half:.1f} and {tail:.1f} ms" + (f", {refused} refused" if refused else ""),
        "p99 20 ms",
        met=tail < 20 and not refused,
    )
    cost = statistics.median(costs)
    return f"Processor time of a worker for one entry, the benchmark's own included: {cost:.0f} us."


def million(bench: Bench, total: int) -> None:
    """Grow an empty store to so many, and look at what there is then."""
    more = max(50, total // PARTS // WORKERS)
    wals: list[float] = []
    for part in range(PARTS):
        before, held = bench.wal(), bench.size()
        told = bench.workers("append", WORKERS, total=more)
        wals.append((bench.wal() - before) / (bench.size() - held))
        rate = _rate(told, more)
        print(f"{part + 1} of {PARTS}: {wals[-1]:.0f} B of WAL an entry, {rate:,.0f}/s", file=sys.stderr)
    size = bench.size()
    first, last = wals[0], statistics.mean(wals[-(PARTS // 2) :])
    grown = (last / first - 1) * 100
    bench.say(
        f"write-ahead log an entry, first fifteenth and last half of {size:,}",
        f"{first:,.0f} and {last:,.0f} B: {grown:+.1f} %",
        "+10 %",
        met=grown < 10,
    )
    tables = {row["of"]: row["bytes"] / size for row in bench.ask(_SIZES)}
    space = sum(tables.values())
    shown = ", ".join(f"{name} {held:.0f}" for name, held in tables.items() if held >= 1)
    bench.say(f"space an entry, all in ({shown})", f"{space:,.0f} B", "2,048 B", met=space < 2048)
    found = bench.workers("search", 1, total=200)[0]
    bench.say(
        f"first page by person of {size:,}, p50 and p99 ({found['found']:.0f} entries each)",
        f"{found['p50_ms']:.1f} and {found['p99_ms']:.1f} ms",
        "50 ms",
        met=found["p99_ms"] < 50,
    )
    bench.workers("mirror", 1)
    mirror = bench.folder / "mirror"
    began = time.perf_counter()
    argv = [sys.executable, "-m", "broker", "audit", "fsck", str(mirror), "--vkey", str(mirror / "vkey")]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=_TIMEOUT)
    took = time.perf_counter() - began
    bench.say(f"fsck of {size:,} from a folder", f"{took:.1f} s", "60 s", met=took < 60)


def both(folder: Path, repeats: int, scale: float) -> str:
    """The table: short runs, and the million, each on an empty store of its own."""
    with running(folder / "short") as bench:
        worker = measure(bench, repeats, scale)
    with running(folder / "long") as grown:
        million(grown, max(2_000, int(MILLION * scale)))
    bench.rows += grown.rows
    return f"{bench.table()}\n\n{worker}"


def _rate(told: list[dict[str, Any]], each: int) -> float:
    """Entries a second of all, from the first's beginning to the last's end: those that are durable."""
    begun, ended = min(one["begun"] for one in told), max(one["ended"] for one in told)
    return (each * len(told) - sum(one["unavailable"] for one in told)) / float(ended - begun)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.log", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats; medians are shown")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="fewer entries in each run, and in the million"
    )
    parser.add_argument("--folder", type=Path, help="where PostgreSQL's files lie")
    args = parser.parse_args()
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="bench-log-", dir=args.folder) as made:
        folder = Path(made)
        folder.chmod(0o755)
        told = both(folder, args.repeats, args.scale)
    now = os.getloadavg()
    print(f"{os.cpu_count()} cores, load average {load[0]:.1f} before and {now[0]:.1f} after\n\n{told}")


if __name__ == "__main__":
    main()
