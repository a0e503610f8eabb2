"""`postroom api`: serve the HTTP API and the dashboard until told to stop."""

import argparse
import logging

import uvicorn
from fastapi import FastAPI

from postroom.api.patience import IDLE_SECONDS
from postroom.api.short_way import ShortWay
from postroom.app import create_app
from postroom.commands.garbage import collect_rarely
from postroom.commands.session import nothing, run_with_resources
from postroom.embedded.gate import wait_for_go
from postroom.log import configure_logging
from postroom.settings import Settings, load_settings

log = logging.getLogger(__name__)

GRACE_SECONDS = 25


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (127.0.0.1)")
    parser.add_argument("--port", type=int, help="the port to listen at (PORT, else 8000)")
    parser.add_argument("--workers", type=int, default=1, help="how many processes (1)")


def run(args: argparse.Namespace) -> int:
    wait_for_go()
    settings = load_settings()
    _configure_logging(settings)
    run_with_resources(nothing, settings)
    port = args.port or settings.port
    log.info("api starts", extra={"host": args.host, "port": port})
    try:
        _serve(args.host, port, args.workers)
    except SystemExit as ended:
        # The server's own codes; it has said why.
        return 1 if ended.code else 0
    return 0


def _serve(host: str, port: int, workers: int) -> None:
    uvicorn.run(
        "postroom.commands.api:make_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="postroom.api.accepting:new_loop",
        http=ShortWay,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # Forwarded headers are read by us, and only from TRUSTED_PROXIES.
        proxy_headers=False,
        server_header=False,
        # As many newcomers as the kernel lets wait (net.core.somaxconn): one that it turns away tries again after
        # a second, and then after two, four, eight.
        backlog=65_535,
        timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def make_app() -> FastAPI:
    """The app of one serving process."""
    settings = load_settings()
    _configure_logging(settings)
    app = create_app(settings=settings)
    collect_rarely()
    return app


def _configure_logging(settings: Settings) -> None:
    configure_logging(settings.log_format, settings.log_level)
    # The server's own lines about its start say the same as ours, in colour codes.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
