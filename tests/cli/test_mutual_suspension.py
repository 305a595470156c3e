"""Two operators who suspend each other at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc

from broker.v1 import directory_pb2 as pb
from broker.v1.directory_pb2_grpc import DirectoryServiceStub
from tests.support.running import RunningBroker
from tests.support.values import AT_THE_DESK

ROUNDS = 10


def test_one_of_two_operators_is_left(running_broker: RunningBroker) -> None:
    """However the two calls fall, exactly one succeeds: never are both suspended."""
    for system in ("left", "right"):
        running_broker.join("operator", system, "operator", "operator")

    def suspend(who: str, whom: str, lift: bool = False) -> bool:
        request = pb.SuspendSystemRequest(
            agency="operator", system=whom, reason="race", lift=lift, actor=AT_THE_DESK
        )
        with running_broker.channel(who) as channel:
            try:
                DirectoryServiceStub(channel).SuspendSystem(request, timeout=10)
            except grpc.RpcError:
                return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            tries = [
                pool.submit(suspend, "operator-left", "right"),
                pool.submit(suspend, "operator-right", "left"),
            ]
            done = [each.result(20) for each in tries]
            assert sum(done) == 1
            assert suspend("operator-cli", "right" if done[0] else "left", lift=True)
