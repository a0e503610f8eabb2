"""Connections to the outside: to checked addresses only, over our own HTTP/1.1 transport for httpx."""

from postroom.outgoing.client import Http, origin_of
from postroom.outgoing.dial import Dialer, HostUnknown, PrivateAddress
from postroom.outgoing.public import is_public
from postroom.outgoing.transport import PrivateAddressError

__all__ = [
    "Dialer",
    "HostUnknown",
    "Http",
    "PrivateAddress",
    "PrivateAddressError",
    "is_public",
    "origin_of",
]
