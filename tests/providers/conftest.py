import pytest
import respx

from postroom.providers.resend import Resend
from postroom.resources import open_http
from tests.providers.resend_wire import API, ResendWire


@pytest.fixture
async def http():
    async with open_http() as client:
        yield client


@pytest.fixture
def wire():
    with respx.mock(base_url=API, assert_all_called=False) as router:
        yield ResendWire(router)


@pytest.fixture
def resend(wire, http):
    return Resend({"apiKey": "re_sk-canary"}, http)
