"""httpx's client over our transport: no redirects, no cookies, no proxy from the environment, one attempt."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import httpx

from postroom import __version__
from postroom.outgoing import transport as wires
from postroom.outgoing.dial import Dialer

CONNECT_SECONDS = 5.0
_ALWAYS = {
    "Accept": "application/json",
    # A compressed answer could unfold to anything.
    "Accept-Encoding": "identity",
    "User-Agent": f"postroom/{__version__}",
}


@lru_cache(maxsize=1024)
def _url(text: str) -> httpx.URL:
    """Reading an address costs as much as sending to it, and most calls go to a few."""
    return httpx.URL(text)


def origin_of(url: str) -> tuple[str, int] | None:
    """Host and port as a request to this address would have them; None when it is no address."""
    try:
        _, host, port = wires.origin_of(httpx.URL(url))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return None
    return host, port


class Http(httpx.AsyncClient):
    """The client for every vendor; `dialer` connects where something else than HTTP is spoken."""

    def __init__(
        self, dialer: Dialer | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.dialer = dialer or Dialer()
        self._wires = transport or wires.Transport(self.dialer)
        super().__init__(
            transport=self._wires,
            follow_redirects=False,
            trust_env=False,
            headers=_ALWAYS,
        )

    async def call(
        self,
        method: str,
        url: str,
        seconds: float,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
    ) -> httpx.Response:
        """One request and its whole answer in so many seconds; what it raises tells what may be sent."""
        connect = min(CONNECT_SECONDS, seconds)
        request = httpx.Request(
            method,
            _url(url),
            headers={**_ALWAYS, **headers},
            content=content,
            extensions={"timeout": {"connect": connect, "pool": connect, "read": seconds}},
        )
        return await self.send(request)

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **unused: Any
    ) -> httpx.Response:
        """The request, as it is, and its answer.

        httpx's own way would try authentication, follow what it is told to, and keep the cookies that one
        account's vendor sets for the next account; for a mail that is also half of a call's whole cost.
        """
        response = await self._wires.handle_async_request(request)
        response.request = request
        if not stream:
            await response.aread()
        return response
