"""What the benchmarks share: peers started beside the rig, checked loads, and the processor time they cost."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import psutil

from bench import load
from bench.rig import Process, Rig, free_port, until_live

PEERS = Path(__file__).parent / "peers"
CONNECTIONS = 64
# Named by the vendor's double in its answers, so that the pace never holds a drain up.
UNPACED = {"named_limit": 900}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family)


@dataclass
class Side:
    """One side of a comparison: where it is asked, whose time it costs, and its rounds."""

    url: str
    pids: Sequence[int]
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)  # µs of processor time a request

    async def round(self, key: str, count: int, *, counts: bool = True) -> None:
        before = sum(cpu_seconds(pid) for pid in self.pids)
        done = await load.run(self.url, load.send_requests(self.url, key), count, CONNECTIONS)
        must_be_200(self.url, done, count)
        if counts:
            self.rates.append(done.rate)
            spent = sum(cpu_seconds(pid) for pid in self.pids) - before
            self.costs.append(spent / count * 1e6)

    @property
    def note(self) -> str:
        return f"{sorted(self.costs)[len(self.costs) // 2]:.0f} µs CPU each"


def must_be_200(what: str, done: load.Load, count: int) -> None:
    if dict(done.statuses) != {200: count} or done.lost or done.unanswered or done.gave_up:
        raise SystemExit(
            f"{what}: answers {dict(done.statuses)} of {count}, lost {done.lost} {dict(done.why)},"
            f" unanswered {done.unanswered}, given up {done.gave_up}"
        )


def must_be_equal(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"{what}: {found}, must be {wanted}")


async def until_open(port: int, process: Process) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if not process.is_alive:
                raise SystemExit(f"{process.name} ended: {process.log.read_text()}") from None
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return


async def until_idle(pid: int, seconds: float = 60) -> None:
    """Wait until a process that has just started has nothing more to load."""
    before, give_up = 0.0, monotonic() + seconds
    # An idle worker takes a few hundredths of a second of each second.
    while (now := cpu_seconds(pid)) < 0.5 or now - before > 0.1:
        if monotonic() > give_up:
            raise SystemExit(f"process {pid} does not come to rest")
        before = now
        await asyncio.sleep(0.7)


# ── Peers ────────────────────────────────────────────────────────────────────────────────────────


async def noop_server(r: Rig) -> Side:
    """A FastAPI route with the same body and header that does nothing."""
    port = free_port()
    server = r.process("noop", "-m", "bench.noop", "--port", str(port))
    await _start(r, server, port)
    return Side(f"http://127.0.0.1:{port}/noop", [server.pid])


async def ungrouped_api(r: Rig) -> Side:
    """Our own API, whose writer takes one request at a time."""
    port = free_port()
    server = r.process("ungrouped", "-m", "bench.ungrouped", "--port", str(port))
    await _start(r, server, port)
    await until_live(port)
    return Side(f"http://127.0.0.1:{port}/api/mail/send", [server.pid])


async def express_server(r: Rig) -> Side:
    """Express, BullMQ and pg in one node process: an insert and a job for each request."""
    install_peers()
    await r.sql("create database peer")
    port = free_port()
    argv = ["node", str(PEERS / "accept.mjs"), str(port), r.key]
    server = Process("express", argv, r.env | peer_env(r), r.folder / "express.log")
    await _start(r, server, port)
    return Side(f"http://127.0.0.1:{port}/send", [server.pid])


def peer_env(r: Rig) -> dict[str, str]:
    """The same PostgreSQL and the same Valkey, in a database of the peer's own."""
    return {
        "DATABASE_URL": urlsplit(r.database_url)._replace(path="/peer").geturl(),
        "REDIS_URL": urlsplit(r.redis_url)._replace(path="/1").geturl(),
        "NODE_ENV": "production",
    }


async def _start(r: Rig, server: Process, port: int) -> None:
    await server.start()
    r.others.append(server)
    await until_open(port, server)


def install_peers() -> None:
    """`npm ci` when the lock has changed since the last one."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise SystemExit("The peers need Node.js 20 and npm.")
    lock, done = PEERS / "package-lock.json", PEERS / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return
    argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    if subprocess.run(argv, cwd=PEERS, stdout=sys.stderr, check=False).returncode:  # noqa: S603 - npm, by a name of ours
        raise SystemExit("npm could not install the peers.")
    done.touch()


async def told(argv: Sequence[str], env: dict[str, str]) -> dict[str, float]:
    """What a child prints at its end."""
    child = await asyncio.create_subprocess_exec(*argv, env=env, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    if child.returncode:
        raise SystemExit(f"{argv[:3]} ended with {child.returncode}")
    return dict(json.loads(out))
