"""Addresses that a person typed: they must not lead us into our own network."""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from postroom.errors import InvalidPayload
from postroom.settings import Settings


async def check(settings: Settings, given: Mapping[str, str]) -> None:
    """Refuse hosts that are, or resolve to, anything but public addresses; `given` is by field."""
    if settings.allow_private_addresses:
        return
    for path, address in given.items():
        host = _host(path, address)
        if not all([is_public(found) for found in await resolve(host, path)]):
            raise InvalidPayload.at(
                path, f'"{path}" must not lead to a private address.', "private_address"
            )


def _host(path: str, address: str) -> str:
    if "://" not in address:
        return address.strip("[]")
    parts = urlsplit(address)
    if parts.scheme != "https":
        raise InvalidPayload.at(path, f'"{path}" must start with https://.')
    return parts.hostname or ""


async def resolve(host: str, path: str = "host") -> list[str]:
    """Every address of a host, or a sentence when it has none."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InvalidPayload.at(path, f'"{path}" names a host that cannot be found.') from None
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Whether this address belongs to the public internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_global and not parsed.is_multicast
