"""A local server that speaks Amazon SES v2 and checks every signature with botocore; faults on demand."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Self

import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.doubles.faults import Faults
from tests.doubles.ledger import Accepted, Ledger, wall_clock
from tests.doubles.wire import Exchange, HttpServer

REGION = "us-east-1"
_SIGNED_LATE = timedelta(minutes=5)


class _At(SigV4Auth):
    """botocore's signer at the moment that a request names."""

    def signature_of(self, request: AWSRequest, stamp: str) -> str:
        request.context["timestamp"] = stamp
        text = self.string_to_sign(request, self.canonical_request(request))
        return str(self.signature(text, request))


def why_refused(
    exchange: Exchange, keys: dict[str, str], ahead: timedelta = timedelta()
) -> tuple[str, str] | None:
    """Why a request's signature is refused, if it is; `ahead` is by how much AWS's clock is."""
    parts = exchange.header(b"authorization").split(", ")
    if len(parts) != 3 or "Credential=" not in parts[0]:
        return "MissingAuthenticationTokenException", "Missing Authentication Token"
    key, _, scope = parts[0].partition("Credential=")[2].partition("/")
    secret = keys.get(key)
    if secret is None:
        return "UnrecognizedClientException", "The security token included is invalid."
    stamp = exchange.header(b"x-amz-date")
    signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(datetime.now(UTC) + ahead - signed_at) > _SIGNED_LATE:
        return "InvalidSignatureException", "Signature expired: too old"
    names = parts[1].partition("=")[2].split(";")
    headers = {name: exchange.header(name.encode()) for name in names}
    url = f"http://{headers['host']}{exchange.path}"
    request = AWSRequest(exchange.method, url, headers=headers, data=exchange.body)
    signer = _At(Credentials(key, secret), "ses", scope.split("/")[1])
    if signer.signature_of(request, stamp) != parts[2].partition("=")[2]:
        return "SignatureDoesNotMatch", "The request signature we calculated does not match."
    return None


class SesDouble:
    """The server, its switches and its ledger; `keys` are those it knows."""

    def __init__(self, keys: dict[str, str] | None = None, **switches: Any) -> None:
        self._server = HttpServer(self._handle)
        self.keys = {"AKIATEST": "secret-key"} if keys is None else keys
        self.faults = Faults()
        self.faults.set(**switches)
        self.ledger = Ledger()
        self.bodies: list[dict[str, Any]] = []
        self.account = {
            "SendingEnabled": True,
            "ProductionAccessEnabled": True,
            "SendQuota": {"Max24HourSend": 50000.0, "MaxSendRate": 14.0, "SentLast24Hours": 0.0},
        }
        self.sets = {"tls": "REQUIRE", "loose": "OPTIONAL"}
        self.denied: set[str] = set()  # what the key may not ask
        self.clock = timedelta()  # by which AWS's clock is ahead
        self.calls = 0

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def mails(self) -> list[Accepted]:
        return list(self.ledger.mails.values())

    def _handle(self, exchange: Exchange) -> None:
        self.calls += 1
        refused = why_refused(exchange, self.keys, self.clock)
        if refused is not None:
            self._error(exchange, 403, *refused)
        elif exchange.method == "POST" and exchange.path == "/v2/email/outbound-emails":
            self._send(exchange)
        elif exchange.path == "/v2/email/account":
            self._ask(exchange, "GetAccount", self.account)
        elif exchange.path.startswith("/v2/email/configuration-sets/"):
            name = exchange.path.rpartition("/")[2]
            if name not in self.sets:
                self._error(exchange, 404, "NotFoundException", f"{name} does not exist.")
                return
            options = {"DeliveryOptions": {"TlsPolicy": self.sets[name]}}
            self._ask(exchange, "GetConfigurationSet", options)
        else:
            exchange.answer(404, b"<html>nothing here</html>", kind="text/html")

    def _ask(self, exchange: Exchange, action: str, answer: dict[str, Any]) -> None:
        if action in self.denied:
            said = f"User: x is not authorized to perform: ses:{action}"
            self._error(exchange, 403, "AccessDeniedException", said)
        else:
            exchange.answer_json(200, answer)

    def _error(self, exchange: Exchange, status: int, name: str, message: str) -> None:
        now = format_datetime(datetime.now(UTC) + self.clock, usegmt=True)
        extra = f"x-amzn-errortype: {name}:http://internal.amazon.com/\r\ndate: {now}\r\n"
        exchange.answer_json(status, {"message": message}, extra)

    def _send(self, exchange: Exchange) -> None:
        if self.faults.strikes("drop_before_accept"):
            exchange.hang_up()
        elif self.faults.strikes("throttle"):
            said = "Maximum sending rate exceeded."
            self._error(exchange, 429, "TooManyRequestsException", said)
        elif self.faults.strikes("error"):
            self._error(exchange, 500, "InternalServiceErrorException", "Sorry.")
        elif (script := self.faults.scripted()) is not None:
            self._error(exchange, script["status"], script["name"], script["message"])
        elif self.faults.latency_ms > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(self.faults.latency_ms / 1000, self._take, exchange)
        else:
            self._take(exchange)

    def _take(self, exchange: Exchange) -> None:
        body = orjson.loads(exchange.body)
        self.bodies.append(body)
        tags = {tag["Name"]: tag["Value"] for tag in body.get("EmailTags", ())}
        mail = Accepted(tags.get("postroom", ""), str(uuid.uuid4()), body, wall_clock())
        self.ledger.accept([mail], "", "", 1)
        if self.faults.strikes("hang"):
            return
        if self.faults.strikes("drop_after_accept"):
            exchange.hang_up()
        elif self.faults.strikes("error_after_accept"):
            self._error(exchange, 500, "InternalServiceErrorException", "Sorry.")
        else:
            exchange.answer_json(200, {"MessageId": mail.id})
