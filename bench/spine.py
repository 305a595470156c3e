"""The spine against the yardstick: interleaved runs, medians, ratios; and what a thousand records cost."""

from __future__ import annotations

import os
import ssl
import statistics
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench.rig import Rig, resident_mb
from broker.pki.tls import TlsFiles

Run = Callable[[], dict[str, float]]

# What is asked, as a ratio to the yardstick: (measure, must, aim, whether more is better).
FIGURES = (
    ("stream, 32 in flight: throughput", 3.0, 6.0, True),
    ("stream, 256 in flight: throughput", 4.0, 10.0, True),
    ("unary, 32 in flight: throughput", 0.6, 0.9, True),
    ("one in flight on a stream: p50", 2.0, 1.3, False),
    ("broker CPU per record at 32", 0.33, 0.15, False),
)


def measure(rig: Rig, repeats: int, scale: float) -> str:
    """The table, in Markdown."""

    def n(amount: int) -> int:
        return max(50, int(amount * scale))

    runs: dict[str, Run] = {
        "bare at 32": lambda: rig.bare(32, n(3000)),
        "stream at 32": lambda: rig.ours(32, n(6000)),
        "stream at 256": lambda: rig.ours(256, n(10000)),
        "unary at 32": lambda: rig.ours(32, n(3000), unary=True),
        "bare at 1": lambda: rig.bare(1, n(1000)),
        "stream at 1": lambda: rig.ours(1, n(1000)),
    }
    for run in runs.values():
        run()  # warm
    taken: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(run())
    median = {
        name: {key: statistics.median(each[key] for each in results) for key in results[0]}
        for name, results in taken.items()
    }
    counted = _per_thousand(rig, lambda: rig.ours(256, n(10000)), n(10000))
    return "\n".join((*_absolute(median), "", *_ratios(median), "", *counted, *_memory(rig, n(200_000))))


def _absolute(median: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        "| run | requests/s | p50 ms | p99 ms | broker CPU us | client CPU us |",
        "|---|---|---|---|---|---|",
    ]
    for name, m in median.items():
        lines.append(
            f"| {name} | {m['per_second']:.0f} | {m['p50_ms']:.2f} | {m['p99_ms']:.2f} "
            f"| {m['broker_cpu_us']:.0f} | {m['client_cpu_us']:.0f} |"
        )
    return lines


def _ratios(median: dict[str, dict[str, float]]) -> list[str]:
    bare = median["bare at 32"]
    found = (
        median["stream at 32"]["per_second"] / bare["per_second"],
        median["stream at 256"]["per_second"] / bare["per_second"],
        median["unary at 32"]["per_second"] / bare["per_second"],
        median["stream at 1"]["p50_ms"] / median["bare at 1"]["p50_ms"],
        median["stream at 32"]["broker_cpu_us"] / bare["broker_cpu_us"],
    )
    lines = ["| to bare | measured | must | aim | |", "|---|---|---|---|---|"]
    for (name, must, aim, more), ratio in zip(FIGURES, found, strict=True):
        met = ratio >= must if more else ratio <= must
        lines.append(f"| {name} | {ratio:.2f} | {must} | {aim} | {'met' if met else 'MISSED'} |")
    return lines


def _per_thousand(rig: Rig, run: Run, records: int) -> list[str]:
    before = _counters(rig)
    run()
    after = _counters(rig)
    took = {key: (after[key] - before[key]) / records * 1000 for key in after}
    costs = (
        f"{took['broker_log_batches_total']:.1f} appends, "
        f"{took['broker_fact_reads_total']:.1f} directive queries, "
        f"{took['broker_log_signatures_total']:.1f} signatures"
    )
    entries = 1000 / took["broker_log_batches_total"]
    return [f"Per 1,000 records at 256 in flight: {costs} (50 of each allowed); {entries:.0f} entries a batch."]


def _memory(rig: Rig, requests: int) -> list[str]:
    """Resident memory after each quarter of so many requests: it must not grow with them."""
    sizes = []
    for _ in range(4):
        rig.ours(256, requests // 4)
        sizes.append(f"{resident_mb(rig.broker.pid):.0f}")
    told = f"after each quarter of {requests:,} requests: {', '.join(sizes)} MB (250 allowed)"
    return [f"Resident memory of the broker at 256 in flight, {told}."]


def _counters(rig: Rig) -> dict[str, float]:
    files = TlsFiles.within(rig.state.certs, "operator-cli")
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)
    text = (
        urllib.request.urlopen(  # our own server on this machine
            f"https://localhost:{rig.http_port}/metrics", context=context, timeout=10
        )
        .read()
        .decode()
    )
    wanted = ("broker_log_batches_total", "broker_fact_reads_total", "broker_log_signatures_total")
    return {
        name: float(line.split()[1])
        for name in wanted
        for line in text.splitlines()
        if line.split(" ")[0] == name
    }


def fsync_ms(folder: Path) -> float:
    """Median time of a small write with fsync there."""
    took = []
    with (folder / "fsync-probe").open("wb") as file:
        for _ in range(50):
            file.write(b"x" * 512)
            began = time.perf_counter()
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    (folder / "fsync-probe").unlink()
    return statistics.median(took) * 1000
