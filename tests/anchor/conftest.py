"""A time-stamp authority made of OpenSSL's command, for as long as a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.authority import TestAuthority, authority_at


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[TestAuthority]:
    """One that answers as it should, until a test changes its mood."""
    with authority_at(tmp_path / "tsa") as made:
        yield made
