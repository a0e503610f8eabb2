"""Projects of a rig, each with an account of its own at a vendor's double, and a look into that double."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from bench.rig import PASSWORD, ROOT, Process, Rig

WEBHOOK_SECRET = "whsec_" + "YS1zZWNyZXQtb2YtdGhlLXJpZy1hbmQtbm8tb3RoZXI="
ACCOUNTS: dict[str, dict[str, Any]] = {
    "resend": {"apiKey": "re_rig_0123456789abcdef", "webhookSecret": WEBHOOK_SECRET},
    "paubox": {"apiKey": "a-key-of-the-rig"},
}
SENDER = "Rig <rig@postroom.test>"


@dataclass
class Vendor:
    """A vendor's double as a process."""

    name: str
    url: str
    process: Process

    @property
    def _controls(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    async def _get(self, path: str) -> Any:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            return (await http.get(f"{self._controls}{path}")).raise_for_status().json()

    async def _post(self, path: str, **body: Any) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            (await http.post(f"{self._controls}{path}", json=body)).raise_for_status()

    async def report(self) -> dict[str, Any]:
        return dict(await self._get("/_report"))

    async def refs(self) -> set[str]:
        """Every mail that it has taken."""
        return set(await self._get("/_refs"))

    async def faults(self, **switches: Any) -> None:
        await self._post("/_faults", **switches)

    async def reset(self) -> None:
        await self._post("/_reset")

    async def forget_keys(self) -> None:
        await self._post("/_forget-keys")


@asynccontextmanager
async def vendor(name: str, folder: Path, **switches: Any) -> AsyncIterator[Vendor]:
    """The double of this vendor, running."""
    argv = [sys.executable, "-m", f"tests.doubles.{name}", "--port", "0"]
    for switch, value in switches.items():
        argv += ["--set", f"{switch}={json.dumps(value)}"]
    child = Process(name, argv, {}, folder / f"{name}.log")
    with child.log.open("ab") as complaints:
        child.running = await asyncio.create_subprocess_exec(
            *argv, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=complaints
        )
    assert child.running.stdout is not None
    try:
        line = json.loads(await child.running.stdout.readline())
        yield Vendor(name, str(line["url"]), child)
    finally:
        await child.kill()


@dataclass
class Tenant:
    """A project whose mails go through one vendor."""

    project_id: str
    key: str
    vendor: Vendor
    connection_id: int
    webhook_path: str


async def make_tenant(rig: Rig, vendor: Vendor, **fields: Any) -> Tenant:
    """A project with an account at this vendor; `fields` are those of the account."""
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=30) as http:
        who = {"email": f"rig-{uuid4().hex[:8]}@example.com", "password": PASSWORD}
        while (answer := await http.post("/api/auth/register", json=who)).status_code == 503:
            await asyncio.sleep(0.2)  # the database has just been restarted
        answer.raise_for_status()
        token = (await http.post("/api/auth/login", json=who)).json()["data"]["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        made = (await http.post("/api/projects", json={"name": "Rig"}, headers=bearer)).json()
        project_id = made["data"]["project"]["id"]
        account = ACCOUNTS[vendor.name] | {"fromEmail": SENDER} | fields
        path = f"/api/projects/{project_id}/mail/providers/{vendor.name}"
        put = (await http.put(path, json=account, headers=bearer)).raise_for_status().json()
    (row,) = await rig.sql("select id from connections where project_id = $1::uuid", project_id)
    webhook = urlsplit(put["data"]["webhookUrl"]).path
    return Tenant(project_id, made["data"]["secretKey"], vendor, row["id"], webhook)
