import pytest
import respx

from postroom.outgoing import Dialer, Http
from postroom.providers.resend import Resend
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
