"""The yardstick, "bare": a unary pass-through of two mutual-TLS hops in grpc.aio with uvloop.

Same payload bytes as ours, no policy, no log: what Python and gRPC cost whoever writes a broker with them.
Run as `python -m bench.bare front|back|load ...`; `rig.py` starts them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

import grpc
import uvloop

import broker  # noqa: F401 - sets the cipher list before grpc is imported
from broker.pki.tls import TlsFiles, channel_credentials, server_credentials

ASK = "/bench.Bare/Ask"
# Of one RecordRequest and one Disclosure with its evidence, as the spine measures them.
REQUEST_BYTES = 220
RECORD_BYTES = 640
ANSWER_BYTES = 3300


def _raw(data: bytes) -> bytes:
    return data


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, method: grpc.RpcMethodHandler) -> None:
        self._method = method

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._method if details.method == ASK else None


async def _serve(files: TlsFiles, answer: object, ready: Path) -> None:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer, _raw, _raw)  # type: ignore[arg-type]
    server.add_generic_rpc_handlers((_Handler(handler),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(files))
    await server.start()
    ready.write_text(json.dumps({"grpc": port}))
    await server.wait_for_termination()


async def back(certs: Path, ready: Path) -> None:
    """The provider: answers at once."""
    record = os.urandom(RECORD_BYTES)

    async def answer(_request: bytes, _context: object) -> bytes:
        return record

    await _serve(TlsFiles.within(certs, "broker"), answer, ready)


async def front(certs: Path, ready: Path, target: str) -> None:
    """The pass-through: asks the provider, answers with as many bytes as a disclosure has."""
    files = TlsFiles.within(certs, "cfrs-risk")
    padding = os.urandom(ANSWER_BYTES - RECORD_BYTES)
    async with grpc.aio.secure_channel(target, channel_credentials(files)) as channel:
        ask = channel.unary_unary(ASK, _raw, _raw)

        async def answer(request: bytes, _context: object) -> bytes:
            record: bytes = await ask(request, timeout=5)
            return record + padding

        await _serve(TlsFiles.within(certs, "broker"), answer, ready)


async def load(certs: Path, target: str, in_flight: int, total: int) -> dict[str, float]:
    """Requests, so many at a time; seconds and percentiles."""
    files = TlsFiles.within(certs, "nwas-cad")
    request = os.urandom(REQUEST_BYTES)
    async with grpc.aio.secure_channel(target, channel_credentials(files)) as channel:
        ask = channel.unary_unary(ASK, _raw, _raw)
        await ask(request, timeout=10)

        async def one(_: int) -> None:
            await ask(request, timeout=30)

        return await timed(one, in_flight, total)


async def timed(one: object, in_flight: int, total: int) -> dict[str, float]:
    """Run `one(n)` for n in range(total), `in_flight` at a time."""
    left = iter(range(total))
    took: list[float] = []

    async def worker() -> None:
        for n in left:
            began = time.perf_counter()
            await one(n)  # type: ignore[operator]
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    cpu = time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    seconds = time.perf_counter() - began
    took.sort()
    return {
        "per_second": total / seconds,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[int(len(took) * 0.99)] * 1000,
        "client_cpu_us": (time.process_time() - cpu) / total * 1e6,
    }


def main() -> None:
    """One of the three processes."""
    parser = argparse.ArgumentParser(prog="python -m bench.bare", description=__doc__)
    parser.add_argument("role", choices=("back", "front", "load"))
    parser.add_argument("--certs", type=Path, required=True)
    parser.add_argument("--ready", type=Path)
    parser.add_argument("--target", default="")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--total", type=int, default=2000)
    args = parser.parse_args()
    if args.role == "back":
        uvloop.run(back(args.certs, args.ready))
    elif args.role == "front":
        uvloop.run(front(args.certs, args.ready, args.target))
    else:
        print(json.dumps(uvloop.run(load(args.certs, args.target, args.in_flight, args.total))))


if __name__ == "__main__":
    main()
