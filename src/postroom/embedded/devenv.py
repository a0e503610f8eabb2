"""What a development set-up is told: secrets made once, the children's environment, dev.env."""

import secrets
import shlex
from collections.abc import Mapping

from postroom.embedded.datadir import DataDir, is_own_url, remembered, write_private

HOST = "127.0.0.1"
SERVER_URLS = ("DATABASE_URL", "REDIS_URL")

# Made once for each data directory, so that keys and sign-in stay the same from start to start.
_SECRETS = {
    "JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "ENCRYPTION_KEY": lambda: secrets.token_hex(32),
    "POSTROOM_DEMO_EMAIL": lambda: "demo@postroom.test",
    "POSTROOM_DEMO_PASSWORD": lambda: secrets.token_urlsafe(12),
    "POSTROOM_DEMO_SECRET_KEY": lambda: f"sk_live_{secrets.token_urlsafe(32)}",
    "POSTROOM_DEMO_PUBLISHABLE_KEY": lambda: f"pk_live_{secrets.token_urlsafe(32)}",
}

_GREETING = """
Postroom is running (started in {seconds:.1f} s).

  Dashboard        {POSTROOM_URL}
  Sign in          {POSTROOM_EMAIL}
  Password         {POSTROOM_PASSWORD}
  Secret key       {POSTROOM_SECRET_KEY}
  Publishable key  {POSTROOM_PUBLISHABLE_KEY}
  Project          {POSTROOM_PROJECT_ID}
  For a shell      source {dev_env}

A first mail:

  curl -sS {POSTROOM_URL}/api/mail/send \\
    -H 'x-api-key: {POSTROOM_SECRET_KEY}' -H 'content-type: application/json' \\
    -d '{{"to": "delivered@example.com", "subject": "Hello", "text": "It works."}}'

Ctrl-C stops everything.
"""


def child_environment(data: DataDir, environ: Mapping[str, str], port: int) -> dict[str, str]:
    """The environment of API, worker and preparation; what the person has set stays as it is."""
    given = {name: value for name, value in environ.items() if value}
    for name in SERVER_URLS:
        # A shell that has sourced dev.env names our own servers, which do not run yet.
        if is_own_url(data, given.get(name, "")):
            del given[name]
    defaults = {
        "MAIL_PROVIDER": "sandbox",
        "EMAIL_FROM": "Postroom <dev@postroom.test>",
        "ALLOW_PRIVATE_ADDRESSES": "true",
        "POSTROOM_LOG": "readable",
        "PUBLIC_URL": f"http://{HOST}:{port}",
        **remembered(data, data.root / "secrets.json", _SECRETS),
    }
    # Unbuffered: lines appear when they are said, also where no terminal is attached.
    return {**defaults, **given, "PORT": str(port), "PYTHONUNBUFFERED": "1"}


def dev_env(env: Mapping[str, str], project_id: str) -> dict[str, str]:
    """What the README's examples need, by the names they use."""
    return {
        "POSTROOM_URL": f"http://{HOST}:{env['PORT']}",
        "POSTROOM_SECRET_KEY": env["POSTROOM_DEMO_SECRET_KEY"],
        "POSTROOM_PUBLISHABLE_KEY": env["POSTROOM_DEMO_PUBLISHABLE_KEY"],
        "POSTROOM_PROJECT_ID": project_id,
        "POSTROOM_EMAIL": env["POSTROOM_DEMO_EMAIL"],
        "POSTROOM_PASSWORD": env["POSTROOM_DEMO_PASSWORD"],
        "DATABASE_URL": env["DATABASE_URL"],
        "REDIS_URL": env["REDIS_URL"],
    }


def write_dev_env(data: DataDir, values: Mapping[str, str]) -> None:
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    write_private(data.root, data.dev_env, "".join(lines))


def greeting(data: DataDir, values: Mapping[str, str], seconds: float) -> str:
    return _GREETING.format(**values, seconds=seconds, dev_env=shlex.quote(str(data.dev_env)))
