"""A project's two API keys: shown once, kept as hashes."""

import secrets
from typing import Literal

from postroom.crypto import hash_key
from postroom.models import Project

KeyType = Literal["secret", "publishable"]
PREFIXES: dict[KeyType, str] = {"secret": "sk_live_", "publishable": "pk_live_"}


def new_key(kind: KeyType) -> str:
    """A key with 256 bits of chance in it, 43 url-safe characters."""
    return PREFIXES[kind] + secrets.token_urlsafe(32)


def set_key(project: Project, kind: KeyType, key: str) -> None:
    """Let `key` be the project's key of this kind, and no other."""
    if kind == "secret":
        project.secret_hash = hash_key(key)
    else:
        project.publishable_hash = hash_key(key)
