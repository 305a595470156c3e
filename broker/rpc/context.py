"""The call that a servicer answers, as the type checker knows it."""

from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]
