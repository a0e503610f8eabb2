import pytest
import respx

from postroom.outgoing import Dialer, Http
from postroom.providers.resend import Resend
from tests.doubles.wire import HttpServer
from tests.providers.resend_wire import API, ResendWire


@pytest.fixture
async def http():
    async with Http(Dialer(allow_private=True)) as client:
        yield client


@pytest.fixture
def wire():
    with respx.mock(base_url=API, assert_all_called=False) as router:
        yield ResendWire(router)


@pytest.fixture
def resend(wire, http):
    return Resend({"apiKey": "re_sk-canary"}, http)


@pytest.fixture
async def mute():
    """A server that listens, reads, and never says a word."""
    server = HttpServer(lambda exchange: None)
    await server.start()
    yield server
    await server.stop()
