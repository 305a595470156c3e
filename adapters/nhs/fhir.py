"""A FHIR R4 server read over HTTPS with our client certificate.

Owns the connections, the headers and every bound: on time, on bytes, on pages. It refuses a server that our
CA does not vouch for, a `next` link that leads elsewhere, and a result that is not whole. Searches are
POSTed, so that no proxy's or server's access log holds a patient's number. What a server says of an error
may quote a patient, so only the HTTP status and the issue codes go further.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from adapters.nhs.codes import Json, items
from adapters.sdk import ProviderTimeout, ProviderUnavailable, SetupError

PAGE = 100
MOST_PAGES = 10
MOST_BYTES = 4 << 20
_CALL_CAP = 10.0
_ISSUES = {"error", "fatal"}


class FhirServer:
    """Searches and reads, each inside the time given."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def search(
        self, kind: str, parameters: Mapping[str, str], trace: Mapping[str, str], within: float
    ) -> list[Json]:
        """All resources that match or are included, from every page. `within` seconds for all of it.

        Raises ProviderTimeout, or ProviderUnavailable when the result could not be read whole.
        """
        found: list[Json] = []
        form = {**parameters, "_count": str(PAGE)}
        try:
            async with asyncio.timeout(within):
                page = await self._call("POST", f"{kind}/_search", trace, kind, data=form)
                for _ in range(MOST_PAGES):
                    found += _entries(page, kind)
                    following = _next(page)
                    if following is None:
                        return found
                    page = await self._call("GET", self._same_server(following, kind), trace, kind)
        except TimeoutError as e:
            raise ProviderTimeout(f"the FHIR server did not answer {kind} in time") from e
        raise ProviderUnavailable(f"the FHIR server holds more {kind} than {PAGE * MOST_PAGES}")

    async def read(self, kind: str, id_: str, trace: Mapping[str, str], within: float) -> Json:
        """One resource by its logical id. Raises as `search` does."""
        try:
            async with asyncio.timeout(within):
                return await self._call("GET", f"{kind}/{id_}", trace, kind)
        except TimeoutError as e:
            raise ProviderTimeout(f"the FHIR server did not answer {kind} in time") from e

    def _same_server(self, link: str, kind: str) -> str:
        try:
            base, url = self._client.base_url, self._client.base_url.join(link)
        except httpx.InvalidURL:
            raise ProviderUnavailable(f"the FHIR server's next page of {kind} is no address") from None
        if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
            raise ProviderUnavailable(f"the FHIR server's next page of {kind} is on another server")
        return str(url)

    async def _call(
        self,
        method: str,
        url: str,
        trace: Mapping[str, str],
        kind: str,
        data: Mapping[str, str] | None = None,
    ) -> Json:
        headers = {"X-Request-ID": str(uuid.uuid4()), **trace}
        try:
            async with self._client.stream(method, url, data=data, headers=headers) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MOST_BYTES:
                        raise ProviderUnavailable(f"the FHIR server's answer to {kind} is too large")
        except httpx.TimeoutException as e:
            raise ProviderTimeout(f"the FHIR server did not answer {kind} in time") from e
        except httpx.HTTPError as e:
            raise ProviderUnavailable(f"the FHIR server cannot be reached ({type(e).__name__})") from e
        return _resource(response.status_code, bytes(body), kind)


@asynccontextmanager
async def fhir_server(
    base_url: str, *, ca: Path, cert: Path, key: Path, connections: int = 16
) -> AsyncIterator[FhirServer]:
    """A server reached over at most `connections` kept connections. Raises SetupError for unusable files."""
    if not base_url.startswith("https://"):
        raise SetupError("the FHIR server's address must begin with https://")
    client = httpx.AsyncClient(
        base_url=base_url.rstrip("/") + "/",
        verify=tls(ca, cert, key),
        # Neither a proxy nor another CA bundle from the environment may stand between us.
        trust_env=False,
        timeout=_CALL_CAP,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        headers={"Accept": "application/fhir+json", "Prefer": "handling=strict"},
    )
    async with client:
        yield FhirServer(client)


def tls(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """Our side of a mutual-TLS connection. Raises SetupError when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(ca)
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as e:
        raise SetupError(f"the FHIR server's CA or our certificate cannot be used: {e.strerror}") from e
    return context


def _resource(status: int, body: bytes, kind: str) -> Json:
    try:
        resource: Any = json.loads(body)
    except ValueError:
        resource = None
    if not isinstance(resource, dict):
        raise ProviderUnavailable(f"the FHIR server answers {kind} with {status} and no JSON object")
    if status != httpx.codes.OK:
        issues = sorted({str(i.get("code"))[:40] for i in items(resource, "issue")})
        raise ProviderUnavailable(f"the FHIR server answers {kind} with {status} ({', '.join(issues)})")
    return resource


def _entries(page: Json, kind: str) -> list[Json]:
    if page.get("resourceType") != "Bundle" or page.get("type") != "searchset":
        raise ProviderUnavailable(f"the FHIR server's answer to {kind} is no searchset")
    found: list[Json] = []
    for entry in items(page, "entry"):
        resource = entry.get("resource")
        if not isinstance(resource, Mapping):
            raise ProviderUnavailable(f"the FHIR server's answer to {kind} has an entry without resource")
        if resource.get("resourceType") == "OperationOutcome":
            if any(i.get("severity") in _ISSUES for i in items(resource, "issue")):
                raise ProviderUnavailable(f"the FHIR server could not answer {kind} whole")
            continue
        found.append(resource)
    return found


def _next(page: Json) -> str | None:
    for link in items(page, "link"):
        if link.get("relation") == "next":
            return str(link.get("url") or "")
    return None
