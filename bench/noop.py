"""The peers that measure the machine: a FastAPI route that does nothing, and arq's own no-op job."""

import argparse
import asyncio
import json
import os
import time
from typing import Annotated, Any

import uvicorn
from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker
from fastapi import FastAPI, Header

from postroom.api.mail_body import SendRequest

app = FastAPI()


@app.post("/noop")
async def noop(body: SendRequest, x_api_key: Annotated[str, Header()]) -> dict[str, Any]:
    """Validates the same body and header as a send, and does nothing."""
    return {"success": True, "data": {"id": "x"}, "message": "Mail queued successfully."}


def serve(port: int) -> None:
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


async def nothing(ctx: dict[Any, Any]) -> None:
    """arq's no-op."""


async def arq_rate(jobs: int, tuned: bool) -> float:
    """No-op jobs a second of one arq worker, with its defaults or polling as hard as it can."""
    hard: dict[str, Any] = {"poll_delay": 0.01, "max_jobs": 100} if tuned else {}
    address = RedisSettings.from_dsn(os.environ["REDIS_URL"])
    pool = await create_pool(address)
    for _ in range(jobs):
        await pool.enqueue_job("nothing")
    worker = Worker(
        [func(nothing, name="nothing")],
        redis_settings=address,
        burst=True,
        keep_result=0,
        log_results=False,
        **hard,
        handle_signals=False,
    )
    began = time.perf_counter()
    await worker.main()
    rate = jobs / (time.perf_counter() - began)
    await worker.close()
    await pool.aclose()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--arq", type=int)
    parser.add_argument("--tuned", action="store_true")
    args = parser.parse_args()
    if args.port:
        serve(args.port)
    else:
        print(json.dumps({"rate": asyncio.run(arq_rate(args.arq, args.tuned))}))


if __name__ == "__main__":
    main()
