"""What every test can ask for. Helpers live in tests/support."""

from tests.support.postgres import any_postgres, database, external_postgres, postgres

__all__ = ["any_postgres", "database", "external_postgres", "postgres"]
