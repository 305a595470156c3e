"""Law as data: codes with their source and date, loaded once and passed to whoever decides.

The files beside this one are what a governance lead reads and a lawyer corrects; no code holds a code.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Law:
    """The closed lists that agreements and requests are checked against, code to one-line meaning."""

    purposes: dict[str, str]
    bases: dict[str, str]
    conditions: dict[str, str]
    gateways: dict[str, str]
    confidentiality: dict[str, str]
    regimes: dict[str, str]


def _codes(name: str) -> dict[str, str]:
    text = resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return {row["code"]: row["meaning"] for row in tomllib.loads(text)["row"]}


@cache
def load() -> Law:
    """The law files of this release."""
    return Law(**{name: _codes(name) for name in Law.__dataclass_fields__})
