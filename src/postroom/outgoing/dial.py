"""Connecting: a host is resolved once, every address of it is checked, and a checked address is connected to.

What is connected to is never resolved a second time, so that a name that changes its mind between the check
and the connection (DNS rebinding) leads nowhere. The name stays what TLS proves and what `Host` says.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from postroom.outgoing.public import is_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class HostUnknown(OSError):
    """The host has no address."""


class PrivateAddress(OSError):
    """The host leads, by at least one of its addresses, to where nobody's mail has any business."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host in the order of preference; every spelling that the system knows counts."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Dialer:
    """How this process connects to addresses that somebody else chose."""

    allow_private: bool = False
    # Hosts and ports that the operator named in the environment: these may be anywhere.
    trusted: Collection[tuple[str, int]] = frozenset()
    resolve: Resolve = resolve
    is_public: Callable[[str], bool] = is_public

    async def check(self, host: str, port: int = 443) -> None:
        """Whether a host that a user typed may be called at all. Raises HostUnknown or PrivateAddress."""
        if not self.allow_private:
            self._require_public(await self._look_up(host, port))

    async def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """A connected socket, within so many seconds. Raises OSError, of which TimeoutError is one."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with asyncio.timeout(seconds):
            found = await self._look_up(host, port)
        if not self.allow_private and (host, port) not in self.trusted:
            self._require_public(found)
        failure: OSError = HostUnknown("None of the host's addresses was tried.")
        for number, address in enumerate(found):
            # Each address gets its share of what is left, so that a dead one does not use up all of it.
            share = (until - loop.time()) / (len(found) - number)
            try:
                async with asyncio.timeout(share):
                    return await _connect(address, port)
            except OSError as failed:
                failure = failed
        raise failure

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        try:
            found = await self.resolve(host, port)
        except (OSError, UnicodeError):
            raise HostUnknown("The host cannot be found.") from None
        if not found:
            raise HostUnknown("The host has no address.")
        return found

    def _require_public(self, found: Sequence[str]) -> None:
        if not all(self.is_public(address) for address in found):
            raise PrivateAddress("The host leads to a private address.")


async def _connect(address: str, port: int) -> socket.socket:
    # Numeric: this looks nothing up, it only finds family and scope.
    family, kind, protocol, _, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, where)
    except BaseException:
        made.close()
        raise
    return made
