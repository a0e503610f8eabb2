"""Prints the API's own OpenAPI document: what the dashboard's types are generated from."""

import json
import sys

from postroom.app import create_app
from postroom.settings import Settings

# Nothing is opened: the document depends on the code alone.
settings = Settings(
    database_url="postgresql://nowhere/none",
    redis_url="redis://nowhere",
    jwt_secret="only-the-document-is-asked-for-here-----",
    encryption_key="00" * 32,
)
json.dump(create_app(settings=settings).openapi(), sys.stdout, indent=1, sort_keys=True)
