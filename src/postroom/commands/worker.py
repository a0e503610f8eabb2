"""`postroom worker`: hand over mails until told to stop."""

import argparse
import asyncio

import uvloop

from postroom.commands import schema
from postroom.commands.garbage import collect_rarely
from postroom.embedded.gate import wait_for_go
from postroom.log import configure_logging
from postroom.resources import open_resources
from postroom.settings import load_settings
from postroom.worker import make_worker


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Hand mails over to their providers; run as many as wanted."


def run(args: argparse.Namespace) -> int:
    wait_for_go()
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(schema.require_head(settings.database_url.get_secret_value()))
    opener = open_resources(settings, pool_size=12)
    resources = loop.run_until_complete(opener.__aenter__())
    try:
        worker = make_worker(resources, settings)
        collect_rarely()
        worker.run()
    finally:
        loop.run_until_complete(opener.__aexit__(None, None, None))
        loop.close()
    return 0
