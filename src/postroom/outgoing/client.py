"""httpx's client over our transport: no redirects, no cookies, no proxy from the environment, one attempt."""

from typing import Any

import httpx

from postroom import __version__
from postroom.outgoing import transport as wires
from postroom.outgoing.dial import Dialer


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
            timeout=httpx.Timeout(30, connect=5, pool=5),
            # A compressed answer could unfold to anything.
            headers={"User-Agent": f"postroom/{__version__}", "Accept-Encoding": "identity"},
        )

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
