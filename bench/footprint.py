"""What the processes take: memory over a million mails, and the time from a start to the first answer."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic, perf_counter

import psutil

from bench import load
from bench.rig import ROOT, Process, Rig, free_port, rig
from bench.stage import CONNECTIONS, UNPACED, must_be_200, must_be_equal, until_idle
from bench.table import Goal, Row

MB = 1_000_000
LIMIT_MB = 180
# Beyond this an API that accepts a billion mails between two restarts would have grown by 2 GB.
FLAT_MB_PER_MILLION = 2


def rss(process: Process) -> float:
    return psutil.Process(process.pid).memory_info().rss / MB


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The least-squares line's rise for each step along."""
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    below = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / below if below else 0.0


async def memory(rounds: int, count: int) -> list[Row]:
    """Resident memory of API and worker while both do all they can; one long run, not rounds."""
    seen: dict[str, list[tuple[float, float]]] = {"API": [], "worker": []}
    async with rig(vendor=UNPACED) as r:
        for process in (r.apis[0], r.workers[0]):
            await until_idle(process.pid)
        sending = asyncio.create_task(_full_load(r, count))
        while not sending.done():
            await asyncio.sleep(0.5)
            done = (await r.report())["distinct_refs"]
            seen["API"].append((done / 1e6, rss(r.apis[0])))
            seen["worker"].append((done / 1e6, rss(r.workers[0])))
        await sending
        await r.wait_handed_over(count, 120 + count / 2000)
        await r.wait_empty(120)
        report = await r.report()
        must_be_equal("mails handed over", report["mails_accepted"], count)
        must_be_equal("mails handed over twice", report["duplicates"], 0)
    rows = []
    for name, points in seen.items():
        peak = max(size for _, size in points)
        later = points[len(points) // 2 :]
        rows += [
            Row(
                f"resident memory of the {name} under full load, {count:,} mails: peak",
                [peak],
                Goal(LIMIT_MB, most=True, own=True),
                unit="MB",
                our_note=f"{points[0][1]:.0f} MB at the start",
            ),
            Row(
                f"the same: growth in the second half, for each million mails ({name})",
                [slope(later)],
                Goal(FLAT_MB_PER_MILLION, most=True, own=True),
                unit="MB",
            ),
        ]
    return rows


async def _full_load(r: Rig, count: int) -> None:
    url = f"{r.url}/api/mail/send"
    sent = 0
    while sent < count:
        now = min(20_000, count - sent)
        must_be_200(
            "sends", await load.run(url, load.send_requests(url, r.key), now, CONNECTIONS), now
        )
        sent += now


# ── Cold start ───────────────────────────────────────────────────────────────────────────────────


async def cold(rounds: int, count: int) -> list[Row]:
    """From the start of `postroom api` to its first answer, against importing its libraries alone."""
    ours, theirs = [], []
    async with rig(apis=1, workers=0) as r:
        libraries = await _libraries(r)
        script = r.folder / "libraries.py"
        script.write_text(_IMPORT_ALL.format(names=libraries))
        for number in range(max(rounds, 5) + 1):
            for _ in range(count):
                mine, other = await _first_answer(r), _run([sys.executable, str(script)], r)
                if number:
                    ours.append(1e3 * mine)
                    theirs.append(1e3 * other)
    return [
        Row(
            "cold start of `postroom api` to its first answer",
            ours,
            Goal(1.5, most=True),
            f"importing the same {len(libraries)} modules and nothing else",
            theirs,
            "ms",
        )
    ]


_IMPORT_ALL = """
import importlib
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        # The API tried it in vain as well.
        pass
"""


async def _libraries(r: Rig) -> list[str]:
    """Every module but our own that a serving API has imported, in the order of import."""
    port = free_port()
    argv = ["-X", "importtime", "-m", "postroom.cli", "api", "--port", str(port)]
    process = r.process("imports", *argv)
    await process.start()
    await _until_answered(port)
    await process.stop()
    lines = [
        line for line in process.log.read_text().splitlines() if line.startswith("import time:")
    ]
    names = dict.fromkeys(line.rpartition("|")[2].strip() for line in lines)
    return [name for name in names if not name.startswith(("postroom", "imported package"))]


def _run(argv: Sequence[str], r: Rig) -> float:
    began = perf_counter()
    subprocess.run(argv, cwd=ROOT, env=r.env, check=True)  # noqa: S603 - our own command line
    return perf_counter() - began


async def _first_answer(r: Rig) -> float:
    port = free_port()
    process = r.process("cold", "-m", "postroom.cli", "api", "--port", str(port))
    began = perf_counter()
    await process.start()
    await _until_answered(port)
    took = perf_counter() - began
    await process.stop()
    return took


async def _until_answered(port: int) -> None:
    """Ask until there is an answer, by a bare socket: it costs the starting process next to nothing."""
    give_up = monotonic() + 30
    request = b"GET /health/live HTTP/1.1\r\nHost: cold\r\nConnection: close\r\n\r\n"
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                s.sendall(request)
                if s.recv(64).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            if monotonic() > give_up:
                raise SystemExit("the API did not come up") from None
        await asyncio.sleep(0.002)
