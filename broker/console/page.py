"""The page at `/`: what is here, for a person with a browser. Plain HTML, one style, nothing from elsewhere.

Refuses to tell a stranger anything but how to get in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from broker.console.guardrails import NOTHING_RUNS

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem;"
    "color:#0b0c0c;background:#fff}a{color:#1a4f8a}a:focus{outline:3px solid #0b0c0c;background:#fd0}"
    "dt{font-weight:700}dd{margin:0 0 1rem;overflow-wrap:anywhere}"
)
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"{NOTHING_RUNS}; style-src 'sha256-{_DIGEST}'"
NAME = "Blue Light Broker"


def stranger_page() -> str:
    """For whoever showed no certificate, or one that is not enrolled."""
    return _document(
        "<p>This service routes records between emergency services, health and councils, and keeps a log of"
        " every decision that can be checked from outside.</p>"
        "<p>To go on, choose the client certificate that your agency gave your system in your browser. If you"
        " have one and still see this page, it is not enrolled here, or no longer: ask the operator.</p>"
    )


def caller_page(
    caller: str, version: str, origin: str, size: int | None, now: datetime, logs: Sequence[str], operator: bool
) -> str:
    """For an enrolled system (`agency/system`). `size` is None where the log cannot be read just now."""
    held = "cannot be read just now" if size is None else f"{size} {'entry' if size == 1 else 'entries'}"
    facts = [
        ("You are", escape(caller)),
        ("Version", escape(version)),
        ("Log", escape(origin)),
        (f"Size at {now:%Y-%m-%d %H:%M:%S} UTC", held),
    ]
    links = [
        ("/log/checkpoint", "Signed checkpoint of the log"),
        ("/log/vkey", "Keys to verify it with"),
        *((f"/log/{name}/checkpoint", f"Checkpoint of the log of {name}") for name in logs),
        *([("/metrics", "Metrics")] if operator else []),
        ("/readyz", "Whether this broker is ready"),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return _document(
        f"<dl>{listed}</dl><h2>What is here</h2><ul>{''.join(_items(links))}</ul>"
        "<p>The log is laid out as C2SP tlog-tiles: hash tiles at <code>/log/tile/&lt;L&gt;/&lt;N&gt;</code>,"
        " entries at <code>/log/tile/entries/&lt;N&gt;</code>.</p>"
    )


def _items(links: Iterable[tuple[str, str]]) -> Iterable[str]:
    return (f'<li><a href="{escape(href)}">{escape(text)}</a></li>' for href, text in links)


def _document(main: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en-GB"><head><meta charset="utf-8"><title>{NAME}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{NAME}</h1>{main}</main></body></html>\n"
    )
