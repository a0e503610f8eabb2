"""The published clients of the platform that our contract follows send through us; only the address is ours."""

import asyncio
import os
import shutil
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from fastapi import FastAPI
from urbackend import UrBackendClient
from urbackend.exceptions import AuthError, RateLimitError, ValidationError

from tests.factories import make_project, set_columns
from tests.journeys.conftest import World

pytestmark = pytest.mark.journey

# The folder in which `npm install @urbackend/sdk` was run, if it was.
NODE_FOLDER = Path(os.environ.get("URBACKEND_NODE_FOLDER", "node_modules"))
_NODE = """

const sdk = require(process.argv[1]);
const urBackend = sdk.default || sdk;
const client = urBackend({ apiKey: process.argv[2], baseUrl: process.argv[3] });
(async () => {
  const data = await client.mail.send(
    { to: 'ann@example.com', templateName: 'otp', variables: { otp: '123456' } });
  let refused;
  try { await client.mail.send({ to: 'nobody', subject: 's', text: 't' }); }
  catch (error) { refused = error.message; }
  console.log(JSON.stringify({ data, refused }));
})();
"""


@pytest.fixture
async def address(app: FastAPI) -> AsyncIterator[str]:
    """The app behind a real server, on a port of its own."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(5):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


@pytest.fixture
def app(world: World) -> FastAPI:
    transport: Any = world.client._transport
    app: FastAPI = transport.app
    return app


def client_of(key: str, address: str) -> UrBackendClient:
    with warnings.catch_warnings():
        # It warns of secret keys in browsers.
        warnings.simplefilter("ignore")
        return UrBackendClient(api_key=key, base=address)


async def test_the_python_client_sends_templates_and_texts(world, office, address) -> None:
    project = await world.project("sandbox")
    mail = client_of(project.secret_key, address).mail

    def work() -> list[dict[str, Any]]:
        return [
            mail.send(
                to="ann@example.com",
                template_name="welcome",
                variables={"name": "Ann", "projectName": "Acme", "appUrl": "https://acme.test"},
            ),
            mail.send(
                to=["ann@example.com", "bob@example.com"],
                subject="Hello",
                text="Hi",
                html="<p>Hi</p>",
                from_address="Shop <shop@example.com>",
                cc=["carl@example.com"],
                bcc=["dora@example.com"],
            ),
        ]

    first, second = await asyncio.to_thread(work)
    assert first["provider"] == "byok"
    assert first["monthlyUsage"] == 1
    assert first["monthlyLimit"] == 50_000
    assert first["templateUsed"]["key"] == "welcome"
    delivered = await world.until_status(project, first["id"], "delivered")
    assert delivered["subject"] == "Welcome to Acme"
    assert second["from"] == "Shop <shop@example.com>"
    logged = await world.until_status(project, second["id"], "delivered")
    assert [r["address"] for r in logged["recipients"]] == [
        "ann@example.com",
        "bob@example.com",
        "carl@example.com",
        "dora@example.com",
    ]


async def test_the_python_client_says_our_sentences(world, address) -> None:
    settings = world.resources.settings.model_copy(update={"free_monthly_limit": 1})
    object.__setattr__(world.resources, "settings", settings)
    project = await make_project(world.resources, plan="free")
    await set_columns(world.resources, project.id)
    mail = client_of(project.secret_key, address).mail
    unknown = client_of("sk_live_" + "x" * 43, address).mail

    def work() -> None:
        with pytest.raises(ValidationError, match="Template not found"):
            mail.send(to="a@example.com", template_name="nobody")
        with pytest.raises(ValidationError, match="Invalid recipient email format"):
            mail.send(to="nobody", subject="s", text="t")
        with pytest.raises(AuthError, match="Please use a valid API key"):
            unknown.send(to="a@example.com", subject="s", text="t")
        mail.send(to="a@example.com", subject="s", text="t")
        with pytest.raises(RateLimitError, match="Monthly mail limit exceeded") as caught:
            mail.send(to="a@example.com", subject="s", text="t")
        assert caught.value.retry_after > 0

    await asyncio.to_thread(work)


async def test_the_node_client_sends_through_us(world, address) -> None:
    module, node = (NODE_FOLDER / "@urbackend/sdk").resolve(), shutil.which("node")
    if not module.exists() or node is None:
        pytest.skip("needs node, and URBACKEND_NODE_FOLDER with @urbackend/sdk in it")
    project = await world.project("sandbox")
    process = await asyncio.create_subprocess_exec(
        node, "-e", _NODE, str(module), project.secret_key, address,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    told = orjson.loads(out)
    assert told["data"]["provider"] == "byok"
    assert told["data"]["templateUsed"]["key"] == "otp"
    assert "Invalid recipient email format." in told["refused"]
