"""respx at the vendors' addresses: it takes the place of our transport, which it does not know by itself."""

from typing import Any

import httpx
import respx.mocks


class OurTransport(respx.mocks.AbstractRequestMocker):
    """Lets a router of respx answer what would have gone out over our transport."""

    name = "postroom"
    targets = ["postroom.outgoing.transport.Transport"]
    target_methods = ["handle_async_request"]

    @classmethod
    def to_httpx_request(cls, **kwargs: Any) -> httpx.Request:
        request: httpx.Request = kwargs["request"]
        return request

    @classmethod
    async def from_async_httpx_response(
        cls, httpx_response: httpx.Response, target: Any, **kwargs: Any
    ) -> httpx.Response:
        return httpx_response


respx.mocks.DEFAULT_MOCKER = OurTransport.name
