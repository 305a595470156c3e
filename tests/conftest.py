"""What every test can ask for. Helpers live in tests/support."""

import broker  # noqa: F401, I001 - before anything imports grpc, which reads its cipher list at import

from hypothesis import settings

from tests.support.postgres import any_postgres, database, external_postgres, postgres
from tests.support.running import running_broker
from tests.support.stack import stack

__all__ = ["any_postgres", "database", "external_postgres", "postgres", "running_broker", "stack"]

# The machine may be busy: how long an example takes says nothing of the code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
