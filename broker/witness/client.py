"""Speaks to witnesses for a log: `add-checkpoint` over HTTPS (C2SP tlog-witness).

Owns the bounds of one exchange, in time and in size. Refuses redirects, proxies of the environment and answers
of another form; what a witness answers is handed on unverified.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path

import httpx

from broker.core.quorum import Witness, WitnessPolicy, parse_policy
from broker.core.witness import Submission
from broker.errors import IntegrityError, SetupError
from broker.witnessed import Cosigned, Refused, Stale

SECONDS = 3.0
_MAX_ANSWER = 64 * 1024
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")
_WORDS = {
    400: "it cannot read what it was sent (400)",
    403: "it does not know this log's key (403)",
    404: "it does not know this log (404)",
    422: "it does not find it proven that this log extends what it cosigned (422)",
}


class WitnessClient:
    """Implements `witnessing.Asker`. Connections are kept."""

    def __init__(self, ca: Path, seconds: float = SECONDS) -> None:
        try:
            context = ssl.create_default_context(cafile=str(ca))
        except OSError as e:  # ssl.SSLError is one
            raise SetupError(f"{ca} holds no certificates to trust witnesses by: {e}") from e
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seconds = seconds
        self._http = httpx.AsyncClient(
            verify=context, timeout=seconds, trust_env=False, follow_redirects=False, headers={"Accept": "*/*"}
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def add_checkpoint(self, witness: Witness, submission: Submission) -> Cosigned | Stale | Refused:
        """Its answer, within the bound; never raises for what a witness or the way to it may do."""
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._http.stream(
                    "POST", f"{witness.address}/add-checkpoint", content=submission.to_bytes()
                ) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_raw():  # what is packed might be without end
                    body += part
                    if len(body) > _MAX_ANSWER:
                        return Refused("its answer is too long")
        except (TimeoutError, httpx.TimeoutException):
            return Refused("it does not answer in time")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as e:
            return Refused(f"it cannot be reached ({type(e).__name__})")
        return _read(answer.status_code, bytes(body))


def _read(status: int, body: bytes) -> Cosigned | Stale | Refused:
    if status == httpx.codes.OK:
        return Cosigned(body)
    if status == httpx.codes.CONFLICT and (size := _SIZE.fullmatch(body)):
        return Stale(int(size[1]))
    return Refused(_WORDS.get(status, f"it answers {status}"), disputed=status == 422)


def witnesses_of(file: Path, ca: Path) -> tuple[WitnessPolicy, WitnessClient]:
    """The policy in a file, and what asks its witnesses, whose servers `ca` vouches for. Raises SetupError."""
    try:
        policy = parse_policy(file.read_bytes())
    except OSError as e:
        raise SetupError(f"BROKER_WITNESS_POLICY: cannot read {file}: {e.strerror}") from e
    except IntegrityError as e:
        raise SetupError(f"BROKER_WITNESS_POLICY: {file}: {e}") from e
    for each in policy.witnesses:
        if not each.address:
            raise SetupError(f"BROKER_WITNESS_POLICY: {file}: {each.name} has no address")
    return policy, WitnessClient(ca)
