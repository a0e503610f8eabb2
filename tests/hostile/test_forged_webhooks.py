"""Webhooks that nobody sent: at the served address of each vendor, none may change a mail or make the server fail."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text

from postroom.domain import connections
from postroom.providers import sns as sns_module
from postroom.resources import Resources
from tests.doubles.hooks import Hook
from tests.factories import MadeProject, make_connection, make_project
from tests.providers.sns_signing import TOPIC, Sns
from tests.providers.test_resend_events import signed

KEY = b"a key of the forger's victim, 32"
OTHER_KEY = b"the key of quite another address"
VENDORS = ("resend", "ses", "paubox")


def secret_of(key: bytes) -> str:
    import base64

    return "whsec_" + base64.b64encode(key).decode()
