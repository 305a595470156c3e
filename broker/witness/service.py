"""`POST /add-checkpoint` (C2SP tlog-witness): bounded, one at a time, durable before it is signed.

Owns the statuses that the specification gives. Refuses bodies past the bound, bodies that do not come in time,
and every other path. Nobody is asked who they are: the signature on the checkpoint says whose it is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from broker.core.checkpoint import Checkpoint, Cosigner, Verifier
from broker.core.witness import MAX_SUBMISSION_BYTES, Accepted, Refusal, Submission, judge
from broker.errors import IntegrityError
from broker.witness.state import WitnessState

BODY_SECONDS = 10.0
_SIZE_TYPE = "text/x.tlog.size"

_diagnostics = structlog.get_logger("broker.witness")


class Service:
    """Judges, keeps, signs; in this order and never two at once."""

    def __init__(
        self,
        cosigner: Cosigner,
        logs: Mapping[str, tuple[Verifier, ...]],
        state: WitnessState,
        now: Callable[[], datetime],
    ) -> None:
        self._cosigner = cosigner
        self._logs = logs
        self._state = state
        self._now = now
        # Checking the old size and keeping the new one are one step (tlog-witness).
        # The thread holds it, not the call: a client that goes away must let nobody in.
        self._one = threading.Lock()

    def app(self) -> Starlette:
        """The application, for `broker.console.server`."""
        return Starlette(
            routes=[
                Route("/add-checkpoint", self.add_checkpoint, methods=["POST"]),
                Route("/healthz", self.healthz, methods=["GET"]),
            ]
        )

    async def healthz(self, _: Request) -> Response:
        """That the process answers."""
        return PlainTextResponse("ok\n")

    async def add_checkpoint(self, request: Request) -> Response:
        """Cosign, or say why not."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(request)
        except TimeoutError:
            return _sentence("the body did not come in time", 408)
        except ClientDisconnect:
            return _sentence("the body broke off", 400)
        if body is None:
            return _sentence(f"the body is longer than {MAX_SUBMISSION_BYTES} bytes", 413)
        return await asyncio.to_thread(self._answer, body)

    def _answer(self, body: bytes) -> Response:
        with self._one:
            return self._judged(body)

    def _judged(self, body: bytes) -> Response:
        found = judge(body, self._logs, self._state.seen)
        if isinstance(found, Refusal):
            return self._refused(found, body)
        try:
            signature = self.cosign(found, Submission.from_bytes(body).note)
        except (OSError, IntegrityError) as e:
            _diagnostics.error("a checkpoint could not be kept, so it was not cosigned", why=str(e))
            return _sentence("the checkpoint could not be kept", 500)
        return PlainTextResponse(signature)

    def cosign(self, accepted: Accepted, note: bytes) -> str:
        """Keep the checkpoint, then sign it. Raises OSError, IntegrityError."""
        self._state.keep(accepted.checkpoint, note)
        return self._cosigner.cosign(accepted.text, int(self._now().timestamp())).line()

    def _refused(self, refusal: Refusal, body: bytes) -> Response:
        if refusal.forked:
            note = Submission.from_bytes(body).note
            origin = Checkpoint.parse(note.decode().rpartition("\n\n")[0] + "\n").origin
            try:
                kept = self._state.convict(origin, note)
            except OSError as e:
                kept = None
                _diagnostics.error("the proof of a fork could not be kept", log=origin, why=str(e))
            _diagnostics.error(
                "the log signed two roots for one size",
                log=origin,
                kept=str(kept) if kept else None,
                cosigned=(self._state.note(origin) or b"").decode(),
                refused=note.decode(),
            )
        if refusal.size is not None:
            return Response(f"{refusal.size}\n", 409, headers={"Content-Type": _SIZE_TYPE})
        return _sentence(refusal.text, refusal.status)


async def _body(request: Request) -> bytes | None:
    """The body; None where it is too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_SUBMISSION_BYTES:
            return None
    return bytes(body)


def _sentence(text: str, status: int) -> Response:
    headers = {"Connection": "close"} if status in (408, 413) else None
    return PlainTextResponse(f"{text}\n", status, headers)
