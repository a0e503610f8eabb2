"""How large a body may be, and how many large ones there may be at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postroom.api.envelope import failure
from postroom.api.room import LARGE, Room
from postroom.api.shell import header_of
from postroom.errors import Problem, TooLarge, WrongContentType

MOST_BYTES = 40_000_000
# Before anybody has said who they are, there is little to say.
STRANGERS: Mapping[str, int] = {
    "/api/auth/": 65_536,
    "/api/mail/webhook": 1_000_000,
    "/unsubscribe/": 65_536,
}


class BodyLimit:
    """Refuses compressed bodies, and those over the limit: announced ones at once, others when they get there.

    A path that ends in one of `files` streams its body to disk and takes larger ones. Whatever else is large
    waits for its room in memory before more of it is read, and has it until it is answered.
    """

    def __init__(
        self, app: ASGIApp, most: int = MOST_BYTES, files: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._most = most
        self._files = dict(files or {})
        self._room = Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        to_disk = next(
            (most for end, most in self._files.items() if scope["path"].endswith(end)), None
        )
        most = to_disk or self._most_for(scope["path"])
        announced = _announced(scope)
        if (problem := _refusal(scope, announced, most)) is not None:
            await failure(problem)(scope, receive, send)
            return
        body = _Body(receive, most, announced or most, None if to_disk else self._room)
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.done()

    def _most_for(self, path: str) -> int:
        named = (most for start, most in STRANGERS.items() if path.startswith(start))
        return next(named, self._most)


@dataclass
class _Body:
    """A request's body on its way in, counted."""

    source: Receive
    most: int
    expected: int
    room: Room | None
    seen: int = 0
    taken: int = 0

    async def receive(self) -> Message:
        message = await self.source()
        self.seen += len(message.get("body", b""))
        if self.seen > self.most:
            raise _too_large(self.most)
        if self.seen > LARGE and not self.taken and self.room is not None:
            self.taken = await self.room.take(self.expected)
        return message

    def done(self) -> None:
        if self.taken and self.room is not None:
            self.room.give_back(self.taken)


def _refusal(scope: Scope, announced: int | None, most: int) -> Problem | None:
    """What is wrong with a body before any of it is read."""
    if announced is not None and announced > most:
        return _too_large(most)
    # A few bytes can be inflated to any number.
    if (header_of(scope, b"content-encoding") or b"identity").lower() != b"identity":
        return WrongContentType("Send the body as it is, without Content-Encoding.")
    return None


def _announced(scope: Scope) -> int | None:
    length = header_of(scope, b"content-length")
    return int(length) if length is not None and length.isdigit() else None


def _too_large(most: int) -> TooLarge:
    limit = f"{most // 1_000_000} MB" if most >= 1_000_000 else f"{most // 1024} kB"
    return TooLarge(f"The body is larger than {limit}.")
