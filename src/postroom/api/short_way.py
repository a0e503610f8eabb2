"""The short way for the one route that is asked thousands of times a second.

`POST /api/mail/send` with a known key and an ordinary body goes straight from the server to the domain, past
routing and dependencies. It does what the documented route does, with the same functions; whatever is out of
the ordinary (an unknown key, a browser's Origin, a body of unknown or great length) takes the long way.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from postroom import log
from postroom.api import send as sending
from postroom.api.envelope import failure, unexpected
from postroom.api.shell import ANSWER_HEADERS, request_id_of
from postroom.domain.projects import Caller
from postroom.errors import Problem

PATH = "/api/mail/send"
ORDINARY = 65_536  # bytes
_JSON = (b"application/json", b"application/json; charset=utf-8")
_TYPE = (b"content-type", b"application/json")

Headers = dict[bytes, bytes]


class ShortWay:
    """In front of the app: takes what it knows, hands on the rest."""

    def __init__(self, app: FastAPI, long_way: ASGIApp) -> None:
        self._state = app.state
        self._long_way = long_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            headers: Headers = dict(scope["headers"])
            caller = self._known_caller(headers) if _is_ordinary(headers) else None
            if caller is not None:
                await self._go(caller, headers, receive, send)
                return
        await self._long_way(scope, receive, send)

    def _known_caller(self, headers: Headers) -> Caller | None:
        caller: Caller | None = self._state.callers.peek(headers[b"x-api-key"].decode("latin-1"))
        return caller

    async def _go(self, caller: Caller, headers: Headers, receive: Receive, send: Send) -> None:
        request_id = request_id_of(headers.get(b"x-request-id"))
        token = log.request_id.set(request_id)
        try:
            status, extra, body = await self._answer(caller, headers, receive)
        except ClientDisconnect:
            return
        finally:
            log.request_id.reset(token)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    _TYPE,
                    (b"content-length", str(len(body)).encode()),
                    (b"x-request-id", request_id.encode()),
                    *ANSWER_HEADERS,
                    *extra,
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, caller: Caller, headers: Headers, receive: Receive
    ) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
        try:
            await self._state.rates.admit(caller.project_id, caller.plan.rate_per_minute)
            body = await _read(receive)
            key = headers.get(b"idempotency-key")
            accepted = await sending.accept(
                self._state.acceptor, caller, body, None if key is None else key.decode("latin-1")
            )
        except Problem as problem:
            return _refusal(failure(problem))
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - the last net, as around every other route
            return _refusal(unexpected(error))
        extra = [(k.lower().encode(), v.encode()) for k, v in sending.replayed(accepted).items()]
        return 200, extra, orjson.dumps(accepted.answer)


def _is_ordinary(headers: Headers) -> bool:
    length = headers.get(b"content-length", b"")
    return (
        b"x-api-key" in headers
        and b"origin" not in headers
        and b"content-encoding" not in headers
        and headers.get(b"content-type", b"").lower() in _JSON
        and length.isdigit()
        and int(length) <= ORDINARY
    )


async def _read(receive: Receive) -> bytes:
    """The whole body. Raises ClientDisconnect: what was cut short is no mail, however well it reads."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _refusal(answer: Any) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
    """An answer of the long way's making, as its parts."""
    extra = [(k, v) for k, v in answer.raw_headers if k == b"retry-after"]
    return answer.status_code, extra, answer.body
