"""Real PostgreSQL and Valkey for development and tests, started with the standard library alone."""

from postroom.embedded.launcher import (
    RunningServers,
    ServerUrls,
    attach,
    remove,
    servers,
    start,
)

__all__ = ["RunningServers", "ServerUrls", "attach", "remove", "servers", "start"]
