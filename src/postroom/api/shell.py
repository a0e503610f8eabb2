"""What stands around every request: an id, a limit to its size, careful headers, and a last net."""

import os
import re
from collections.abc import Iterable, Mapping

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postroom import log
from postroom.api.envelope import failure, unexpected
from postroom.errors import TooLarge

MOST_BYTES = 40_000_000
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
ANSWER_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=()"),
]


def _header(scope: Scope, name: bytes) -> bytes | None:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in headers if key == name), None)


class Shell:
    """Gives each request its id and each answer its headers; what nobody caught ends here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(_header(scope, b"x-request-id"))
        token = log.request_id.set(request_id)
        answer = _Answer(send, request_id)
        try:
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the last net: logged by `unexpected`
            await answer.apologise(error, scope, receive)
        finally:
            log.request_id.reset(token)


class _Answer:
    """The way out: adds the headers that every answer carries."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._headers = [(b"x-request-id", request_id.encode()), *ANSWER_HEADERS]
        self._started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            own = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(header for header in self._headers if header[0] not in own),
            ]
        await self._send(message)

    async def apologise(self, error: Exception, scope: Scope, receive: Receive) -> None:
        answer = unexpected(error)
        if self._started:
            raise error
        await answer(scope, receive, self.send)


def request_id_of(given: bytes | None) -> str:
    """The caller's own id where it is a sane one, so that both sides can search for it."""
    if given is not None and _SANE_ID.fullmatch(given):
        return given.decode()
    return os.urandom(16).hex()


class BodyLimit:
    """Refuses bodies over the limit: announced ones at once, streamed ones when they get there.

    A path that ends in one of `files` streams its body to disk and takes larger ones.
    """

    def __init__(
        self, app: ASGIApp, most: int = MOST_BYTES, files: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._most = most
        self._files = dict(files or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._most_for(scope["path"])
        announced = _header(scope, b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > most:
            await failure(_too_large(most))(scope, receive, send)
            return
        await self._app(scope, self._counting(receive, most), send)

    def _most_for(self, path: str) -> int:
        named = (most for end, most in self._files.items() if path.endswith(end))
        return next(named, self._most)

    def _counting(self, receive: Receive, most: int) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise _too_large(most)
            return message

        return counted


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The body is larger than {most // 1_000_000} MB.")
