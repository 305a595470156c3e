"""What a refusal says that a program can go by."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def retry_delay(error: grpc.aio.AioRpcError) -> float:
    """Seconds after which to ask again, as a refusal says; 0 where it does not."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    retry = error_details_pb2.RetryInfo()
    if status is None or not any(detail.Unpack(retry) for detail in status.details):
        return 0.0
    return retry.retry_delay.ToTimedelta().total_seconds()
