"""Addresses that a person typed: they must not lead us into our own network."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from postroom.errors import InvalidPayload
from postroom.outgoing import Dialer, HostUnknown, PrivateAddress


async def check(dialer: Dialer, given: Mapping[str, str]) -> None:
    """Refuse hosts that are, or resolve to, anything but public addresses; `given` is by field.

    This is for the sentence: each connection is checked again by the dialer that makes it.
    """
    if dialer.allow_private:
        return
    for path, address in given.items():
        try:
            await dialer.check(_host(path, address))
        except HostUnknown:
            raise InvalidPayload.at(path, f'"{path}" names a host that cannot be found.') from None
        except PrivateAddress:
            sentence = f'"{path}" must not lead to a private address.'
            raise InvalidPayload.at(path, sentence, "private_address") from None


def _host(path: str, address: str) -> str:
    if "://" not in address:
        return address.strip("[]")
    parts = urlsplit(address)
    if parts.scheme != "https":
        raise InvalidPayload.at(path, f'"{path}" must start with https://.')
    return parts.hostname or ""
