"""What an AWS machine or container gives its programs: temporary keys of its role, which change when they end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from tests.doubles.wire import Exchange, HttpServer

ROLE = "postroom-sender"
_METADATA = "/latest/meta-data/iam/security-credentials/"


class AwsHost:
    """The instance's metadata and the container's credentials, on loopback; each answer has the next keys."""

    def __init__(self) -> None:
        self._server = HttpServer(self._handle)
        self.minutes = 60.0  # for which keys are good; botocore renews what has less than ten left
        self.seconds = 0.0  # how long an answer takes
        self.status = 200
        self.given: list[str] = []  # access key ids, in the order in which they were given

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._server.stop()

    @property
    def as_container(self) -> dict[str, str]:
        """The environment of a container that has a role."""
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self._server.url}/credentials"}

    @property
    def as_instance(self) -> dict[str, str]:
        """The environment of a program that finds its instance here."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self._server.url}/"}

    def _handle(self, exchange: Exchange) -> None:
        if self.status != 200:
            exchange.answer(self.status, b"")
        elif exchange.path.endswith("/latest/api/token"):
            exchange.answer(200, b"a-token-of-the-instance", kind="text/plain")
        elif exchange.path.endswith(_METADATA):
            exchange.answer(200, ROLE.encode(), kind="text/plain")
        elif exchange.path in ("/credentials", _METADATA + ROLE, f"/{_METADATA}{ROLE}"):
            later = asyncio.get_running_loop().call_later
            later(self.seconds, lambda: exchange.answer_json(200, self._next()))
        else:
            exchange.answer(404, b"")

    def _next(self) -> dict[str, Any]:
        name = f"ASIATEST{len(self.given) + 1}"
        self.given.append(name)
        ends = datetime.now(UTC) + timedelta(minutes=self.minutes)
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": name,
            "SecretAccessKey": f"secret-of-{name}",
            "Token": f"token-of-{name}",
            "LastUpdated": datetime.now(UTC).isoformat(),
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def secret_of(access_key_id: str) -> str:
    return f"secret-of-{access_key_id}"
