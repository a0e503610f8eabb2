"""Resend as the tests of its provider see it: what it answers, and what it was told."""

import itertools
from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import respx

from tests.providers.contract import Vendor

API = "https://api.resend.com"


def error(status: int, name: str, message: str = "No, canary@patients.test.") -> httpx.Response:
    return httpx.Response(status, json={"statusCode": status, "name": name, "message": message})


def page(status: int) -> httpx.Response:
    return httpx.Response(status, html="<html><title>nginx, canary@patients.test</title></html>")


def accepting(request: httpx.Request) -> httpx.Response:
    mails = orjson.loads(request.content)
    if isinstance(mails, dict):
        return httpx.Response(200, json={"id": "id-0"})
    return httpx.Response(200, json={"data": [{"id": f"id-{n}"} for n in range(len(mails))]})


class ResendWire(Vendor):
    """Resend's address, with nobody but the test behind it."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.router = router
        self.failures: Mapping[str, httpx.Response | Exception] = {}

    def accept(self) -> None:
        self.answer(accepting)

    def fail(self, failure: str) -> None:
        self.answer(self.failures[failure])

    def answer(self, what: Any) -> None:
        """A response, an exception, or a function of the request."""
        always = what if callable(what) else itertools.repeat(what)
        self.router.post(url__regex=r"/emails(/batch)?$").mock(side_effect=always)

    def bodies(self) -> list[bytes]:
        return [call.request.content for call in self.router.calls]

    @property
    def last(self) -> httpx.Request:
        return self.router.calls.last.request
