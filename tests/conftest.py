"""What every test can ask for. Helpers live in tests/support."""

from tests.support.postgres import database, external_postgres, postgres

__all__ = ["database", "external_postgres", "postgres"]
