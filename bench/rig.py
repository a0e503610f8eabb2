"""A whole Postroom on loopback: servers, API and worker processes and a vendor double, each killable.

The benchmarks and the crash suite run the product as its operators do: real processes, real sockets.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import psutil

from postroom import embedded

ROOT = Path(__file__).parent.parent
PASSWORD = "a password of the rig"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class Process:
    """One child, started with a command line; its output goes to a file."""

    name: str
    argv: list[str]
    env: Mapping[str, str]
    log: Path
    running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as out:
            self.running = await asyncio.create_subprocess_exec(
                *self.argv, env=dict(self.env), cwd=ROOT, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        assert self.running is not None
        return self.running.pid

    async def signal(self, number: int) -> None:
        assert self.running is not None
        with contextlib.suppress(ProcessLookupError):
            self.running.send_signal(number)

    async def kill(self) -> None:
        await self.signal(signal.SIGKILL)
        await self.wait()

    async def stop(self, seconds: float = 30) -> int:
        """SIGTERM, and the exit code."""
        await self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                return await self.wait()
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"{self.name} did not stop within {seconds} s") from None

    async def wait(self) -> int:
        assert self.running is not None
        return await self.running.wait()

    @property
    def is_alive(self) -> bool:
        return self.running is not None and self.running.returncode is None


class Server:
    """PostgreSQL or Valkey on a data directory of its own, so that it can be taken away and come back."""

    def __init__(self, folder: Path, name: str, *, fast: bool) -> None:
        self._folder, self._name, self._fast = folder, name, fast
        self._running: embedded.RunningServers | None = None

    def start(self) -> str:
        """Its address: the same at every start."""
        self._running = embedded.start(self._folder, (self._name,), fast=self._fast)
        urls = self._running.await_ready()
        return urls.database_url or urls.redis_url

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None

    def kill(self) -> None:
        """End the server without a word (its guardian then ends by itself)."""
        found = [p for p in psutil.process_iter(["cmdline"]) if self._is_ours(p)]
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGQUIT if self._name == "postgres" else signal.SIGKILL)
        psutil.wait_procs(found, timeout=20)
        self.stop()

    def _is_ours(self, process: psutil.Process) -> bool:
        line = process.info["cmdline"] or []
        ours = str(self._folder)
        return any(ours in part for part in line) and not any("guardian" in part for part in line)


@dataclass
class Rig:
    """What is running, and how to look into it."""

    database_url: str
    redis_url: str
    vendor_url: str
    env: dict[str, str]
    folder: Path
    apis: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)
    others: list[Process] = field(default_factory=list)
    api_ports: list[int] = field(default_factory=list)
    project_id: str = ""
    key: str = ""
    postgres: Server | None = None
    valkey: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_ports[0]}"

    async def sql(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *args)
            return rows
        finally:
            await connection.close()

    async def report(self) -> dict[str, Any]:
        """What the vendor double has taken."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.vendor_url}/_report")
            return dict(answer.json())

    async def refs(self) -> list[str]:
        """Every mail that the vendor has."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            answer = await http.get(f"{self.vendor_url}/_refs")
            found = answer.json()
            return list(found if isinstance(found, list) else found["refs"])

    async def faults(self, **switches: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            (await http.post(f"{self.vendor_url}/_faults", json=switches)).raise_for_status()

    def process(self, name: str, *argv: str, **env: str) -> Process:
        return Process(name, [sys.executable, *argv], self.env | env, self.folder / f"{name}.log")

    async def add_api(self, port: int | None = None) -> Process:
        """Another API process; with `port` it takes the place of one that died."""
        new = port is None
        port = port or free_port()
        name = f"api{len(self.apis)}"
        api = self.process(name, "-m", "postroom.cli", "api", "--port", str(port))
        await api.start()
        self.apis.append(api)
        if new:
            self.api_ports.append(port)
        await until_live(port)
        return api

    async def add_worker(self) -> Process:
        worker = self.process(f"worker{len(self.workers)}", "-m", "postroom.cli", "worker")
        await worker.start()
        self.workers.append(worker)
        return worker

    async def wait_handed_over(self, count: int, seconds: float) -> float:
        """Wait until the vendor has taken so many distinct mails; the seconds it took."""
        began = monotonic()
        while (await self.report())["distinct_refs"] < count:
            if monotonic() - began > seconds:
                raise AssertionError(f"handed over {await self.report()}, wanted {count}")
            await asyncio.sleep(0.2)
        return monotonic() - began

    async def wait_settled(self, seconds: float) -> None:
        """Wait until nothing is left but what is parked."""
        began = monotonic()
        unsettled = (
            "select count(*) n from outbox o left join attempts a on a.id = o.attempt_id"
            " where a.parked is not true"
        )
        while (left := (await self.sql(unsettled))[0]["n"]) > 0:
            if monotonic() - began > seconds:
                raise AssertionError(f"{left} mails are still on their way")
            await asyncio.sleep(0.2)

    async def wait_empty(self, seconds: float) -> None:
        """Wait until nothing is left to do."""
        began = monotonic()
        while (await self.sql("select 1 from outbox limit 1")) != []:
            if monotonic() - began > seconds:
                left = await self.sql("select count(*) n, count(attempt_id) bound from outbox")
                raise AssertionError(f"outbox not empty: {left}")
            await asyncio.sleep(0.1)


async def until_live(port: int, seconds: float = 90) -> None:
    began = monotonic()
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            try:
                if (await http.get(f"http://127.0.0.1:{port}/health/live")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if monotonic() - began > seconds:
                raise AssertionError("the API did not come up")
            await asyncio.sleep(0.05)


async def _start_vendor(folder: Path, env: dict[str, str], **switches: Any) -> tuple[Process, str]:
    argv = ["-m", "tests.doubles.resend", "--port", "0", "--journal", str(folder / "journal.jsonl")]
    for name, value in switches.items():
        argv += ["--set", f"{name}={value}"]
    child = Process("vendor", [sys.executable, *argv], env, folder / "vendor.log")
    child.running = await asyncio.create_subprocess_exec(
        *child.argv, env=env, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert child.running.stdout is not None
    line = json.loads(await child.running.stdout.readline())
    return child, str(line["url"])


async def _make_project(rig: Rig) -> None:
    """An account and a pro project on the shared Resend account."""
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False) as http:
        who = {"email": f"rig-{uuid4().hex[:8]}@example.com", "password": PASSWORD}
        (await http.post("/api/auth/register", json=who)).raise_for_status()
        token = (await http.post("/api/auth/login", json=who)).json()["data"]["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        made = (await http.post("/api/projects", json={"name": "Rig"}, headers=bearer)).json()
    rig.project_id = made["data"]["project"]["id"]
    rig.key = made["data"]["secretKey"]


@asynccontextmanager
async def rig(
    *,
    apis: int = 1,
    workers: int = 1,
    fast: bool = False,
    vendor: dict[str, Any] | None = None,
    **env: str,
) -> AsyncIterator[Rig]:
    """Everything up, one project made; everything ended by its id afterwards."""
    with tempfile.TemporaryDirectory(prefix="postroom-rig-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = Server(folder / "pg", "postgres", fast=fast)
        valkey = Server(folder / "vk", "valkey", fast=fast)
        database_url, redis_url = postgres.start(), valkey.start()
        try:
            base = {
                **os.environ,
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "JWT_SECRET": "a-secret-of-the-rig-and-of-nothing-else",
                "ENCRYPTION_KEY": "22" * 32,
                "EMAIL_FROM": "Rig <rig@postroom.test>",
                "REGISTRATION": "open",
                "RESEND_API_KEY": "re_rig",
                "FREE_MONTHLY_LIMIT": "1000000000",
                "FREE_RATE_PER_MINUTE": "1000000000",
                "POSTROOM_LOG": "readable",
                "POSTROOM_LOG_LEVEL": "warning",
            } | env
            child, vendor_url = await _start_vendor(folder, base, **(vendor or {}))
            base["RESEND_BASE_URL"] = vendor_url
            made = Rig(database_url, redis_url, vendor_url, base, folder, others=[child])
            made.postgres, made.valkey = postgres, valkey
            try:
                migrate = made.process("migrate", "-m", "postroom.cli", "migrate")
                await migrate.start()
                assert await migrate.wait() == 0, migrate.log.read_text()
                for _ in range(apis):
                    await made.add_api()
                await _make_project(made)
                for _ in range(workers):
                    await made.add_worker()
                yield made
            finally:
                for process in made.workers + made.apis + made.others:
                    if process.is_alive:
                        await process.kill()
        finally:
            valkey.stop()
            postgres.stop()
