"""Signed webhooks as Svix sends them: late, twice, out of order, and again until one is answered."""

import asyncio
import base64
import hashlib
import hmac
import random
from asyncio import StreamReader, StreamWriter
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import orjson

_SENDERS = 8
_RETRY_SECONDS = (0.2, 0.5, 1, 2, 4, 8, 16)
_ANSWER_SECONDS = 10


@dataclass(slots=True)
class Hook:
    """One message to one address; a repeat carries the same id."""

    id: str
    url: str
    secret: str
    body: bytes
    tries: int = 0

    def headers(self) -> dict[str, str]:
        at = str(int(time()))
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signed = hmac.new(key, f"{self.id}.{at}.".encode() + self.body, hashlib.sha256).digest()
        return {
            "svix-id": self.id,
            "svix-timestamp": at,
            "svix-signature": f"v1,{base64.b64encode(signed).decode()}",
        }


@dataclass(slots=True)
class Hooks:
    """Sends what is due; started by the first message."""

    counts: Counter[str] = field(default_factory=Counter)
    _due: Any = field(default_factory=asyncio.PriorityQueue)
    _order: int = 0
    _senders: list[asyncio.Task[None]] = field(default_factory=list)

    def tell(
        self, hook: Hook, seconds: float, *, duplicate_percent: float = 0, shuffle: bool = False
    ) -> None:
        """Send it after so many seconds; shuffled means anywhere in twice that time."""
        if not self._senders:
            self._senders = [asyncio.create_task(self._send_due()) for _ in range(_SENDERS)]
        spread = max(seconds, 0.05) * 2
        self._put(hook, random.uniform(0, spread) if shuffle else seconds)
        if random.uniform(0, 100) < duplicate_percent:
            self._put(hook, seconds + random.uniform(0, spread))

    async def stop(self) -> None:
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        self._senders.clear()

    def report(self) -> dict[str, int]:
        return {
            "sent": self.counts["sent"],
            "answered": self.counts["answered"],
            "refused": self.counts["refused"],
            "given_up": self.counts["given_up"],
            "pending": self._due.qsize(),
        }

    def _put(self, hook: Hook, seconds: float) -> None:
        self._order += 1
        self._due.put_nowait((monotonic() + seconds, self._order, hook))

    async def _send_due(self) -> None:
        post = Post()
        try:
            while True:
                due, order, hook = await self._due.get()
                wait = due - monotonic()
                if wait > 0.005:
                    # Put back what is not due, so that an earlier one may overtake.
                    self._due.put_nowait((due, order, hook))
                    await asyncio.sleep(min(wait, 0.02))
                    continue
                await self._send(post, hook)
        finally:
            post.close()

    async def _send(self, post: "Post", hook: Hook) -> None:
        self.counts["sent"] += 1
        try:
            status = await asyncio.wait_for(post(hook), _ANSWER_SECONDS)
        except (OSError, EOFError, ValueError, TimeoutError):
            post.close()
            status = 0
        if 200 <= status < 300:
            self.counts["answered"] += 1
            return
        self.counts["refused"] += status > 0
        if hook.tries == len(_RETRY_SECONDS):
            self.counts["given_up"] += 1
            return
        hook.tries += 1
        self._put(hook, _RETRY_SECONDS[hook.tries - 1])


class Post:
    """A POST over one kept connection."""

    def __init__(self) -> None:
        self._place: tuple[str | None, int | None] | None = None
        self._reader: StreamReader | None = None
        self._writer: StreamWriter | None = None

    async def __call__(self, hook: Hook) -> int:
        url = urlsplit(hook.url)
        if self._place != (url.hostname, url.port):
            self.close()
            self._reader, self._writer = await asyncio.open_connection(url.hostname, url.port or 80)
            self._place = (url.hostname, url.port)
        assert self._reader is not None
        assert self._writer is not None
        lines = [
            f"POST {url.path or '/'} HTTP/1.1",
            f"host: {url.netloc}",
            "user-agent: Svix-Webhooks/1.0",
        ]
        lines += ["content-type: application/json", f"content-length: {len(hook.body)}"]
        lines += [f"{name}: {value}" for name, value in hook.headers().items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + hook.body)
        return await self._read(self._reader)

    async def _read(self, reader: StreamReader) -> int:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        await reader.readexactly(int(fields.get("content-length", "0")))
        if fields.get("connection") == "close" or "content-length" not in fields:
            self.close()
        return int(head[0].split(" ")[1])

    def close(self) -> None:
        self._place = None
        if self._writer is not None:
            with suppress(RuntimeError):
                self._writer.transport.abort()
        self._reader = self._writer = None


def message(kind: str, created_at: str, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "created_at": created_at, "data": data})
