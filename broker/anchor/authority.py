"""Asks a time-stamp authority over HTTP (RFC 3161 section 3.4).

Owns the bounds of one exchange, in time and in size, and verifies before it gives anything back. Refuses
redirects and proxies of the environment. What a stamp is worth its signature says, so plain HTTP will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
from cryptography import x509

from broker.anchor.token import MAX_RESPONSE, Stamp, ask, certificates, verify
from broker.errors import IntegrityError, SetupError

SECONDS = 10.0
_QUERY = "application/timestamp-query"


class NotStamped(IntegrityError):  # noqa: N818
    """The authority gave no time stamp that holds; why, in a few words of ours."""


class Authority:
    """One address, and whose signature there is believed."""

    def __init__(self, url: str, believed: Sequence[x509.Certificate], seconds: float = SECONDS) -> None:
        self._url = url
        self._believed = tuple(believed)
        self._seconds = seconds
        self._http = httpx.AsyncClient(timeout=seconds, trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def stamp(self, data: bytes) -> tuple[bytes, Stamp]:
        """The whole response over these bytes, verified, and what it says. Raises NotStamped."""
        question = ask(data)
        response = await self._post(question.der)
        try:
            return response, verify(response, data, self._believed, question.nonce)
        except IntegrityError as e:
            raise NotStamped(str(e)) from e

    async def _post(self, der: bytes) -> bytes:
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._http.stream("POST", self._url, content=der, headers={"Content-Type": _QUERY}) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > MAX_RESPONSE:
                        raise NotStamped("its answer is too long")
        except (TimeoutError, httpx.TimeoutException) as e:
            raise NotStamped("it does not answer in time") from e
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as e:
            raise NotStamped(f"it cannot be reached ({type(e).__name__})") from e
        if not answer.is_success:
            raise NotStamped(f"it answers {answer.status_code}")
        return bytes(body)


def authority_of(url: str, certificate: Path | None) -> Authority:
    """The authority that the settings name. Raises SetupError."""
    if certificate is None:
        raise SetupError(
            "BROKER_TIMESTAMP_URL needs BROKER_TIMESTAMP_CERT: the root certificates of its authority (PEM)"
        )
    try:
        return Authority(url, certificates(certificate.read_bytes()))
    except OSError as e:
        raise SetupError(f"BROKER_TIMESTAMP_CERT: cannot read {certificate}: {e.strerror}") from e
    except IntegrityError as e:
        raise SetupError(f"BROKER_TIMESTAMP_CERT: {certificate}: {e}") from e
