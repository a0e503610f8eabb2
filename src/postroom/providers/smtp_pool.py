"""Open connections to SMTP servers, kept for the next mail: always over TLS, signed in, and not for ever."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import aiosmtplib

from postroom.outgoing import Dialer

MOST_OPEN = 10  # of one account in one process
MOST_MAILS = 100  # over one connection, then a new one: load balancers want to choose again
MOST_SECONDS = 600.0
IDLE_SECONDS = 30.0
# An address literal is valid everywhere, and tells nobody what this machine is called.
_OUR_NAME = "[127.0.0.1]"


class InvalidCertificate(Exception):
    """The CA certificate that the account was set up with is none."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where and as whom; two accounts that are the same share their connections."""

    host: str
    port: int
    implicit_tls: bool
    username: str
    password: str = field(repr=False)
    ca_certificate: str | None = field(default=None, repr=False)


@dataclass(eq=False, slots=True)
class Line:
    """One connection."""

    client: aiosmtplib.SMTP
    opened_at: float
    mails: int = 0
    fresh: bool = True  # nothing was sent over it yet: a loss is not for its age
    idle_since: float = 0.0


@dataclass(eq=False, slots=True)
class _Pool:
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_OPEN))
    idle: deque[Line] = field(default_factory=deque)


_POOLS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Server, _Pool]] = WeakKeyDictionary()


def _pool_of(server: Server) -> _Pool:
    pools = _POOLS.setdefault(asyncio.get_running_loop(), {})
    return pools.setdefault(server, _Pool())


@asynccontextmanager
async def line(
    server: Server, dialer: Dialer, seconds: float, *, reuse: bool = True
) -> AsyncIterator[Line]:
    """A connection for one mail; after any error it is not used again."""
    pool = _pool_of(server)
    async with pool.room:
        held = _take_idle(pool) if reuse else None
        if held is None:
            held = Line(await _connect(server, dialer, seconds), asyncio.get_running_loop().time())
        whole = False
        try:
            yield held
            whole = True
        finally:
            _give_back(pool, held, whole=whole)


def _take_idle(pool: _Pool) -> Line | None:
    now = asyncio.get_running_loop().time()
    while pool.idle:
        held = pool.idle.pop()  # the warmest first, so that the others grow cold
        if held.client.is_connected and now - held.idle_since < IDLE_SECONDS:
            held.fresh = False
            return held
        held.client.close()
    return None


def _give_back(pool: _Pool, held: Line, *, whole: bool) -> None:
    loop = asyncio.get_running_loop()
    held.mails += 1
    worn = held.mails >= MOST_MAILS or loop.time() - held.opened_at > MOST_SECONDS
    if not whole or worn or not held.client.is_connected:
        held.client.close()
        return
    held.idle_since = loop.time()
    pool.idle.append(held)
    loop.call_later(IDLE_SECONDS, _close_if_idle, pool, held, held.idle_since)


def _close_if_idle(pool: _Pool, held: Line, since: float) -> None:
    if held in pool.idle and held.idle_since == since:
        pool.idle.remove(held)
        held.client.close()


async def _connect(server: Server, dialer: Dialer, seconds: float) -> aiosmtplib.SMTP:
    context = _context(server.ca_certificate)
    sock = await dialer.connect(server.host, server.port, seconds)
    client = aiosmtplib.SMTP(
        # What TLS must prove; the connection is made already, to an address that was checked.
        hostname=server.host,
        sock=sock,
        username=server.username or None,
        password=server.password or None,
        use_tls=server.implicit_tls,
        # Never "if the server offers it": without TLS there is no mail.
        start_tls=not server.implicit_tls,
        tls_context=context,
        local_hostname=_OUR_NAME,
        timeout=seconds,
    )
    # The loop owns the socket from here, and closes it when this fails.
    await client.connect()
    return client


def _context(ca_certificate: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca_certificate)
    except (ssl.SSLError, ValueError, TypeError):
        raise InvalidCertificate("The CA certificate is no certificate in PEM.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def close_idle() -> None:
    """Close what waits, as at the end of a test or a process."""
    for pool in _POOLS.get(asyncio.get_running_loop(), {}).values():
        while pool.idle:
            pool.idle.pop().client.close()
