"""A command's first look at the database: a server that is only starting is waited for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from postroom.commands import schema
from postroom.embedded.command import CommandFailed

STARTING = ("57P03", "the database system is starting up")
MISSING = ("3D000", 'database "x" does not exist')


class Refusing:
    """A server that turns everybody away, each with the next of these errors and later with the last."""

    def __init__(self, *errors: tuple[str, str]) -> None:
        self._errors = list(errors)
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while (length := int.from_bytes(await reader.readexactly(4), "big")) == 8:
                await reader.readexactly(length - 4)
                writer.write(b"N")  # no TLS here
            await reader.readexactly(length - 4)
            code, said = self._errors[min(self.asked, len(self._errors) - 1)]
            self.asked += 1
            fields = f"SFATAL\0VFATAL\0C{code}\0M{said}\0\0".encode()
            writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def listening(refusing: Refusing) -> AsyncIterator[str]:
    server = await asyncio.start_server(refusing.serve, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://ann@127.0.0.1:{server.sockets[0].getsockname()[1]}/x"


async def test_a_database_that_is_starting_is_waited_for() -> None:
    refusing = Refusing(STARTING, STARTING, STARTING, MISSING)
    async with listening(refusing) as url:
        with pytest.raises(CommandFailed, match='database "x" does not exist'):
            await schema.connect(url)
    assert refusing.asked == 4


async def test_it_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_STARTS_WITHIN", 0.5)
    refusing = Refusing(STARTING)
    async with listening(refusing) as url:
        with pytest.raises(CommandFailed, match="starting up"):
            await schema.connect(url)
    assert refusing.asked >= 2
