"""FHIR servers for tests: the real one as a process of its own, and one whose answers a test makes up."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.nhs import demo_server
from adapters.nhs.fhir import tls
from tests.support.certificates import Files
from tests.support.thin_postgres import free_port

Make = Callable[[Request], Awaitable[Response]]


@dataclass
class FhirApi:
    """A FHIR server as whoever keeps its records sees it. `url` is its FHIR base."""

    url: str
    client: Files

    async def put(self, resource: dict[str, Any]) -> None:
        """Create or replace a resource through the API, as a clinician's system would."""
        async with self._http() as http:
            answer = await http.put(f"{self.url}/{resource['resourceType']}/{resource['id']}", json=resource)
            assert answer.status_code in (200, 201), answer.text

    async def get(self, kind: str, id_: str) -> dict[str, Any]:
        """A resource as the API gives it."""
        async with self._http() as http:
            answer = await http.get(f"{self.url}/{kind}/{id_}")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

    async def delete(self, kind: str, id_: str) -> None:
        """Delete a resource through the API."""
        async with self._http() as http:
            assert (await http.delete(f"{self.url}/{kind}/{id_}")).is_success

    def _http(self) -> httpx.AsyncClient:
        context = tls(self.client.ca, self.client.cert, self.client.key)
        return httpx.AsyncClient(verify=context, trust_env=False, timeout=10)


@dataclass
class RealServer(FhirApi):
    """A sekmet-fhir process."""

    process: subprocess.Popen[bytes]


@contextmanager
def real_server(folder: Path, server: Files, client: Files) -> Iterator[RealServer]:
    """A real FHIR server that lives as long as the block; empty."""
    launch = demo_server.prepare(folder, free_port(), ca=server.ca, cert=server.cert, key=server.key)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(launch.argv, env=launch.env, stdout=log, stderr=log, start_new_session=True)
    context = tls(client.ca, client.cert, client.key)
    deadline = time.monotonic() + 30
    try:
        while True:
            try:
                httpx.get(f"{launch.base_url}/metadata", verify=context, trust_env=False, timeout=5)
                break
            except httpx.HTTPError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield RealServer(launch.base_url, client, process)
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class LyingServer:
    """HTTPS for real, answers made up: `answers[kind]` makes what a search or read of that kind gets."""

    url: str = ""
    answers: dict[str, Make] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def handle(self, request: Request) -> Response:
        """Note the request and answer as the test wants; by default, an empty searchset."""
        kind = request.path_params["kind"]
        self.requests.append((request.method, str(request.url), dict(request.headers)))
        make = self.answers.get(kind)
        return await make(request) if make else JSONResponse(searchset())


def searchset(*resources: dict[str, Any], following: str = "") -> dict[str, Any]:
    """A searchset bundle of these resources."""
    link = [{"relation": "next", "url": following}] if following else []
    entry = [{"resource": r, "search": {"mode": "match"}} for r in resources]
    return {"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry}


def replies(body: Any, status: int = 200) -> Make:
    """An answer that is always the same."""

    async def make(_: Request) -> Response:
        return body if isinstance(body, Response) else JSONResponse(body, status)

    return make


@contextmanager
def lying_server(server: Files) -> Iterator[LyingServer]:
    """A server whose answers the test makes up, over mutual TLS, for as long as the block lasts."""
    lying = LyingServer()
    app = Starlette(routes=[Route("/fhir/{kind}/{rest:path}", lying.handle, methods=["GET", "POST"])])
    runner = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_level="warning",
            ssl_certfile=server.cert,
            ssl_keyfile=server.key,
            ssl_ca_certs=str(server.ca),
            ssl_cert_reqs=2,
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not runner.started:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        port = runner.servers[0].sockets[0].getsockname()[1]
        lying.url = f"https://127.0.0.1:{port}/fhir"
        yield lying
    finally:
        runner.should_exit = True
        thread.join(10)
