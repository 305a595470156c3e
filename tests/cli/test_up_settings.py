"""Which settings `broker up` takes from the environment, and that it says which it does not."""

from __future__ import annotations

from broker.cli.up.stack import TAKEN, passed_on
from broker.config import Settings


def test_what_a_development_broker_is_told_is_taken_or_named() -> None:
    """Retention, witnesses, time stamps and the webhook are taken; what it sets itself is named as left."""
    given = {
        "BROKER_RETENTION": "/etc/retention.toml",
        "BROKER_TIMESTAMP_URL": "https://tsa.example",
        "BROKER_DATABASE_URL": "postgresql://elsewhere",
        "BROKER_AS": "cfrs-mdt",
        "HOME": "/root",
    }
    taken, left = passed_on(given)
    assert taken == {name: given[name] for name in ("BROKER_RETENTION", "BROKER_TIMESTAMP_URL")}
    assert left == ["BROKER_DATABASE_URL"]
    assert {f"BROKER_{name.upper()}" for name in Settings.model_fields} >= TAKEN
