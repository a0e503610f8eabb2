"""`make fuzz`: ten thousand requests and more, made out of the OpenAPI document, at a real API with a real worker.

Nothing may answer 500, and nothing in a way that the document does not declare.
"""

import argparse
import asyncio
import sys
from time import monotonic
from uuid import UUID

from tests.hostile.fuzzing import Found, fuzz

from bench.rig import rig


async def _run(requests: int, number: int) -> Found:
    async with rig(
        fast=True,
        TRUSTED_PROXIES="127.0.0.1",
        FREE_MAX_PROJECTS="-1",
        PRO_RATE_PER_MINUTE="-1",
        ALLOW_PRIVATE_ADDRESSES="true",
    ) as running:
        loop = asyncio.get_running_loop()

        def promote(project_id: str) -> None:
            change = running.sql("update projects set plan = 'pro' where id = $1", UUID(project_id))
            asyncio.run_coroutine_threadsafe(change, loop).result(30)

        return await asyncio.to_thread(fuzz, running.url, promote, requests, number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--each", type=int, default=100, help="requests an operation (100)")
    parser.add_argument("--seed", type=int, default=1, help="the same number asks the same (1)")
    args = parser.parse_args()
    began = monotonic()
    found = asyncio.run(_run(args.each, args.seed))
    statuses = ", ".join(f"{n:,} x {status}" for status, n in sorted(found.statuses.items()))
    print(
        f"{found.total:,} requests to {len(found.asked)} operations in {monotonic() - began:.0f} s"
    )
    print(f"answers: {statuses}")
    print(f"never answered 2xx: {', '.join(found.never_succeeded) or 'none'}")
    print(f"failures: {len(found.failures)}")
    if found.failures:
        print(f"\n{found.report()}")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
