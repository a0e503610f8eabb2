"""`postroom migrate`: bring the database to the newest schema."""

import argparse
import os

from postroom.commands import schema
from postroom.errors import SettingsMissing


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Bring the database to the newest schema. Only DATABASE_URL is needed."


def run(args: argparse.Namespace) -> int:
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise SettingsMissing("DATABASE_URL is not set. See docs/configuration.md.")
    print(f"The database is at revision {schema.migrate_unless_at_head(url)}.")
    return 0
