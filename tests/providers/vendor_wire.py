"""A vendor's HTTP API as the tests of its provider see it: what it answers, and what it was told."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import respx

from tests.providers.contract import Vendor

Reply = httpx.Response | Exception


def page(status: int) -> httpx.Response:
    return httpx.Response(status, html="<html><title>nginx, canary@patients.test</title></html>")


class Wire(Vendor):
    """A vendor's address, with nobody but the test behind it."""

    def __init__(
        self,
        router: respx.MockRouter,
        posts_to: str,
        accepting: Callable[[httpx.Request], httpx.Response],
        failures: Mapping[str, Reply],
    ) -> None:
        self.router = router
        self._posts_to = posts_to
        self._accepting = accepting
        self._failures = failures

    def accept(self) -> None:
        self.answer(self._accepting)

    def fail(self, failure: str) -> None:
        self.answer(self._failures[failure])

    def answer(self, what: Any) -> None:
        """A response, an exception, or a function of the request."""
        always = what if callable(what) else itertools.repeat(what)
        self.router.post(url__regex=self._posts_to).mock(side_effect=always)

    def bodies(self) -> list[bytes]:
        return [call.request.content for call in self.router.calls]

    @property
    def last(self) -> httpx.Request:
        return self.router.calls.last.request


# What networks and proxies do, whatever the vendor.
NETWORK: dict[str, tuple[Reply, str]] = {
    "connect refused": (httpx.ConnectError("refused"), "not_sent"),
    "connect timeout": (httpx.ConnectTimeout("slow"), "not_sent"),
    "no connection free": (httpx.PoolTimeout("full"), "not_sent"),
    "read timeout": (httpx.ReadTimeout("canary@patients.test"), "unknown"),
    "write timeout": (httpx.WriteTimeout("slow"), "unknown"),
    "write error": (httpx.WriteError("reset"), "unknown"),
    "read error": (httpx.ReadError("reset"), "unknown"),
    "protocol error": (httpx.RemoteProtocolError("disconnected"), "unknown"),
    "undecodable": (httpx.DecodingError("gzip"), "unknown"),
    "no http": (httpx.UnsupportedProtocol("ftp"), "misconfigured"),
    "no address": (httpx.InvalidURL("x"), "misconfigured"),
}
