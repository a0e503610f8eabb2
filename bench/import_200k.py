"""A file of 200,000 contacts comes in: `python -m bench.import_200k`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from time import monotonic

from bench.lists import Memory, project
from bench.rig import rig

ROWS = 200_000
BAD_EVERY = 20_000


async def rows(count: int) -> AsyncIterator[bytes]:
    yield b"email,first_name,last_name,city\n"
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        lines = (
            "not-an-address,,,\n" if i % BAD_EVERY == 7 else f"p{i}@example.com,Ann{i},Lee,Oslo\n"
            for i in numbers
        )
        yield "".join(lines).encode()


async def main(count: int) -> None:
    async with rig(apis=1, workers=1, fast=True) as here, project(here) as client:
        api = Memory(lambda: [here.apis[0].pid])
        worker = Memory(lambda: [here.workers[0].pid])
        # The first import loads what every later one uses.
        warm = (await client.call("POST", "/audiences", json={"name": "Warm"}))["id"]
        await client.import_rows(warm, rows(1000))
        audience = (await client.call("POST", "/audiences", json={"name": "Many"}))["id"]
        async with api.sampled(), worker.sampled():
            began = monotonic()
            found = await client.import_rows(audience, rows(count))
            took = monotonic() - began
    print(f"rows      {count}")
    print(f"counts    {found['counts']}")
    print(f"refused   {found['refused'][:2]}")
    print(f"took      {took:.1f} s, {count / took:.0f} rows/s; worker {found['rows_per_second']}/s")
    print(f"api       {api}")
    print(f"worker    {worker}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
