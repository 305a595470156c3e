"""`python -m tests.support.withdraw TARGET CA CERT KEY DIRECTIVE_ID`: withdraw one, from a process apart.

Imports the generated stubs and nothing else of the product: it stands for a partner's own software.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc

from broker.v1 import directive_pb2, directive_pb2_grpc, exchange_pb2


def main(target: str, ca: str, cert: str, key: str, directive_id: str) -> None:
    """Withdraw it and print the withdrawal's place in the log."""
    root, chain, private = (Path(path).read_bytes() for path in (ca, cert, key))
    credentials = grpc.ssl_channel_credentials(root, private, chain)
    with grpc.secure_channel(target, credentials) as channel:
        made = directive_pb2_grpc.DirectiveServiceStub(channel).WithdrawDirective(
            directive_pb2.WithdrawDirectiveRequest(
                directive_id=directive_id,
                actor=exchange_pb2.Actor(id="cumberland-0938", role="social-worker"),
            ),
            timeout=10,
        )
    sys.stdout.write(f"{made.receipt.index}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
