"""Who may read what on the HTTPS port, and what every answer says to a browser."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from broker.console.app import Parts, build_app
from broker.console.guardrails import NOTHING_RUNS
from broker.errors import SetupError
from tests.console.conftest import ENTRIES, ORIGIN, Site, utc_now

OF_THE_LOG = [
    "/log/checkpoint",
    "/log/vkey",
    "/log/tile/0/000",
    "/log/tile/entries/000.p/1",
    "/log/2026h2/vkey",
]


@pytest.mark.parametrize("path", [*OF_THE_LOG, "/log/tile/0/999", "/metrics"])
async def test_without_an_enrolled_certificate_nothing_is_said(site: Site, path: str) -> None:
    """No certificate is a 401; one that is not enrolled, or suspended, a 403; and whether a page exists is not
    told."""
    seen = []
    for name in (None, "cfrs-new", "nwas-cad"):
        async with site.client(name) as client:
            answer = await client.get(path)
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["cache-control"] == "no-store"
        seen.append((answer.status_code, answer.text, "www-authenticate" in answer.headers))
    unknown = (403, "This certificate is not that of a system enrolled here now.\n", False)
    assert seen == [(401, "Show the client certificate of an enrolled system.\n", True), unknown, unknown]


async def test_refused_callers_are_counted(own_site: Site) -> None:
    """Each call without an enrolled certificate counts, and nothing of it is kept but the count."""
    for name in (None, "cfrs-new"):
        async with own_site.client(name) as client:
            await client.get("/log/checkpoint")
    count = own_site.telemetry.registry.get_sample_value("broker_unauthenticated_total", {"edge": "https"})
    assert count == 2


@pytest.mark.parametrize("path", OF_THE_LOG)
async def test_any_enrolled_system_reads_the_log(site: Site, path: str) -> None:
    """Partners and operators alike."""
    for name in ("cfrs-mdt", "operator-cli"):
        async with site.client(name) as client:
            assert (await client.get(path)).status_code == 200


async def test_a_suspended_key_is_refused_on_a_connection_that_is_open(own_site: Site) -> None:
    """Who may read is asked for each request, not once for a connection."""
    async with own_site.client("cfrs-mdt") as client:
        first = await client.get("/log/checkpoint")
        own_site.reference = type(own_site.reference).build(1, own_site.reference.law, (), (), (), {})
        second = await client.get("/log/checkpoint")
    streams = [answer.extensions["network_stream"].get_extra_info("socket") for answer in (first, second)]
    assert [first.status_code, second.status_code] == [200, 403]
    assert streams[0] is streams[1]


async def test_metrics_are_for_operators(site: Site) -> None:
    """A partner is refused in a sentence; an operator gets the Prometheus text format."""
    site.telemetry.answered("cfrs", "records.fire.v1.PremisesRisk", "permit", 0.002)
    async with site.client("cfrs-mdt") as client:
        answer = await client.get("/metrics")
        assert (answer.status_code, answer.text) == (403, "Metrics are for systems enrolled as operators.\n")
    async with site.client("operator-cli") as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    line = (
        'broker_requests_total{agency="cfrs",outcome="permit",record_type="records.fire.v1.PremisesRisk"} 1.0'
    )
    assert line in answer.text.splitlines()


async def test_readiness_follows_its_reasons_and_health_does_not(site: Site) -> None:
    """/readyz is open, 503 with one reason a line while there are any; what is only told leaves it 200.
    /healthz says only that we answer."""
    async with site.client() as client:
        before = await client.get("/readyz")
        site.reasons += ["no adapter of ncic is attached", "the database does not answer"]
        during = await client.get("/readyz")
        alive = await client.get("/healthz")
        site.reasons.clear()
        site.told.append("no time stamp: the evidence does not hold")
        after = await client.get("/readyz")
    assert [a.status_code for a in (before, during, alive, after)] == [200, 503, 200, 200]
    assert (before.text, after.text) == ("ready\n", "ready\nno time stamp: the evidence does not hold\n")
    assert during.text == "not ready\nno adapter of ncic is attached\nthe database does not answer\n"


@pytest.mark.parametrize(
    "path", ["/log", "/metrics/", "/healthz/", "/admin", "/index.html", "//", "/log/../healthz"]
)
async def test_every_unknown_path_is_a_plain_404(site: Site, path: str) -> None:
    """No redirect, no page, no difference between callers."""
    for name in (None, "operator-cli"):
        async with site.client(name) as client:
            request = client.build_request("GET", "/")
            request.extensions["target"] = path.encode()
            answer = await client.send(request)
        if path.startswith("/log/") and name is None:
            assert answer.status_code == 401
        else:
            assert (answer.status_code, answer.text) == (404, "There is nothing at this address.\n")


async def test_the_page_shows_a_stranger_only_the_way_in(site: Site) -> None:
    """Without an enrolled certificate neither version, origin nor size of the log is on the page at /."""
    for name in (None, "cfrs-new"):
        async with site.client(name) as client:
            answer = await client.get("/")
        assert answer.status_code == 200
        assert not re.search(rf"0\.1\.0|{ORIGIN}|{ENTRIES}|href=", answer.text)


async def test_the_page_shows_an_enrolled_system_what_is_here(site: Site) -> None:
    """Version, origin, size and links that work; its one style is the one that the policy names."""
    async with site.client("operator-cli") as client:
        answer = await client.get("/")
        links = re.findall(r'href="([^"]+)"', answer.text)
        statuses = {link: (await client.get(link)).status_code for link in links}
    for text in (
        "operator/cli",
        "0.1.0",
        ORIGIN,
        f"{ENTRIES} entries",
        '<html lang="en-GB">',
        "<main>",
        "<title>",
    ):
        assert text in answer.text
    assert statuses.keys() >= {"/log/checkpoint", "/log/vkey", "/log/2026h2/checkpoint", "/metrics", "/readyz"}
    assert set(statuses.values()) == {200}
    assert not re.search(r"https?:|src=|<script|style=", answer.text)
    policy = answer.headers["content-security-policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"{NOTHING_RUNS}; style-src 'sha256-{digest}'"


@pytest.mark.parametrize("path", ["/", "/healthz", "/nowhere", "/log/checkpoint"])
async def test_every_answer_tells_a_browser_to_run_and_keep_nothing(site: Site, path: str) -> None:
    """Pages, health, refusals and 404s carry the same headers; a stranger's connection ends with its answer."""
    async with site.client() as client:
        answer = await client.get(path)
        named = await client.get(path, headers={"Host": "broker.blue-light.test"})
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["connection"] == "close"
    assert "server" not in answer.headers
    assert "strict-transport-security" not in answer.headers  # localhost: other ports of it are not ours
    assert named.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_only_get_and_head_are_answered(site: Site, method: str) -> None:
    """Every other method is a 405 that names the two."""
    async with site.client("cfrs-mdt") as client:
        answer = await client.request(method, "/log/checkpoint")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_body_is_refused_and_ends_the_connection(site: Site) -> None:
    """Nothing here reads one, told by its length or in chunks."""

    async def chunks() -> object:
        yield b"x"

    async with site.client("cfrs-mdt") as client:
        for content in (b"x", chunks()):
            answer = await client.request("GET", "/log/checkpoint", content=content)  # type: ignore[arg-type]
            assert (answer.status_code, answer.headers["connection"]) == (413, "close")


async def test_without_a_log_there_is_no_application(site: Site) -> None:
    """A port that could publish nothing is a fault of the set-up, found before it listens."""
    for logs in ({}, {"not-a-log": None}):
        parts = Parts("0.1.0", logs, (), site.identify, site.ready, site.telemetry, utc_now)  # type: ignore[arg-type]
        with pytest.raises(SetupError):
            build_app(parts)
