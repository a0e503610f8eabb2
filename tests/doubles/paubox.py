"""A local server that speaks Paubox's Email API: receipts, unsigned webhooks, faults on demand and a ledger.

It knows no idempotency key: whatever it takes is sent. In a test: `async with PauboxDouble() as double`; as a
process: `python -m tests.doubles.paubox --port 0 --set latency_ms=30` (`control.py` tells how to look into it).
"""

import asyncio
import itertools
import uuid
from collections import deque
from collections.abc import MutableSequence
from datetime import UTC, datetime
from email.utils import format_datetime, parseaddr
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

import orjson

from tests.doubles import control
from tests.doubles.faults import Faults
from tests.doubles.hooks import Hook, Hooks
from tests.doubles.ledger import Accepted, Ledger, wall_clock
from tests.doubles.wire import Exchange, HttpServer

REF_HEADER = "X-Postroom-Id"
CALLS_KEPT = 1000
# What the receipt says in the end, by the local part of the recipient (+label allowed).
LITERALS = {
    "bounced": "hard bounced",
    "delayed": "soft bounced",
    "full": "soft bounced - mailbox full",
    "portal": "delivered via secure portal",
    "notls": "TLS not offered, sending via Secure Portal",
    "broken": "Internal error. Please check back later.",
    "pending": "pending",
    "processing": "processing",
}
PUSHED = {
    "delivered": "api_mail_log_delivered",
    "delivered via secure portal": "api_mail_log_delivered",
    "hard bounced": "api_mail_log_permanent_failure",
    "soft bounced": "api_mail_log_temporary_failure",
    "soft bounced - mailbox full": "api_mail_log_temporary_failure",
}


class UnsignedHook(Hook):
    """Paubox proves nothing and tries once."""

    def headers(self) -> dict[str, str]:
        self.tries = 1_000_000
        return {}


class PauboxDouble:
    """The server, its switches and its ledger."""

    def __init__(self, *, port: int = 0, journal: Path | None = None, **switches: Any) -> None:
        self._server = HttpServer(self._handle, port)
        self._journal = journal
        self._numbers = itertools.count(1)
        self.faults = Faults()
        self.faults.set(**switches)
        self.ledger = Ledger(journal)
        self.hooks = Hooks()
        self.calls: MutableSequence[tuple[str, str, dict[str, str]]] = deque(maxlen=CALLS_KEPT)
        self.bodies: MutableSequence[Any] = deque(maxlen=CALLS_KEPT)
        self.receipts: dict[str, dict[str, Any]] = {}  # what the receipt shall be instead
        self.page: int | None = None  # answer everything with a web page of this status
        self.receipt_seconds = 0.0  # how long it thinks about a question
        self.asked_at: list[float] = []  # when the questions came
        self.asking = self.most_asking = 0  # questions that wait for their answers, and their peak

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.hooks.stop()
        await self._server.stop()
        self.ledger.close()

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return f"{self._server.url}/v1/email"

    @property
    def mails(self) -> list[Accepted]:
        return list(self.ledger.mails.values())

    def report(self) -> dict[str, Any]:
        return {**self.ledger.report(), "webhooks": self.hooks.report()}

    def reset(self) -> None:
        """Forget everything but the switches; a journal starts anew."""
        self.ledger.close()
        if self._journal is not None:
            self._journal.unlink(missing_ok=True)
        self.ledger = Ledger(self._journal)

    def _handle(self, exchange: Exchange) -> None:
        if exchange.path.startswith("/_"):
            control.answer(self, exchange)
            return
        team = exchange.header(b"authorization").removeprefix("Bearer ")
        self.ledger.arrive(team, exchange.arrived)
        self.calls.append(
            (
                exchange.method,
                exchange.path,
                {k.decode(): v.decode() for k, v in exchange.headers.items()},
            )
        )
        if self.page is not None or not exchange.path.startswith("/v1/email/"):
            exchange.answer(
                self.page or 404, b"<html>404 canary@patients.test</html>", kind="text/html"
            )
        elif team in ("", "invalid"):
            exchange.answer(401, b"Unauthorized", kind="text/plain")
        elif exchange.method == "GET":
            self._look_up(exchange)
        else:
            self._send(exchange)

    # ── Questions ────────────────────────────────────────────────────────────────────────────────

    def _look_up(self, exchange: Exchange) -> None:
        if not exchange.path.endswith("/message_receipt"):
            exchange.answer_json(405, {"error": "Method not allowed"})
            return
        self.asked_at.append(exchange.arrived)
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        asyncio.get_running_loop().call_later(self.receipt_seconds, self._tell_of, exchange)

    def _tell_of(self, exchange: Exchange) -> None:
        self.asking -= 1
        made = parse_qs(exchange.query).get("sourceTrackingId", [""])[0]
        accepted = self.ledger.mails.get(made)
        if accepted is None:
            exchange.answer_json(404, {"errors": [NOT_FOUND], "sourceTrackingId": made})
            return
        exchange.answer_json(200, self.receipts.get(made) or receipt(accepted))

    # ── A send ───────────────────────────────────────────────────────────────────────────────────

    def _send(self, exchange: Exchange) -> None:
        self.ledger.counts["calls"] += 1
        if self.faults.strikes("drop_before_accept"):
            self._offer(exchange)
            exchange.hang_up()
        elif self.faults.strikes("throttle"):
            retry = f"retry-after: {self.faults.retry_after}\r\n"
            exchange.answer_json(429, {"message": "Too many requests"}, retry)
        elif self.faults.strikes("error"):
            self._offer(exchange)
            exchange.answer_json(503, {"error": "Service Unavailable"})
        elif (script := self.faults.scripted()) is not None:
            exchange.answer_json(script["status"], script["message"])
        elif self.faults.latency_ms > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(self.faults.latency_ms / 1000, partial(self._take, exchange))
        else:
            self._take(exchange)

    def _offer(self, exchange: Exchange) -> None:
        self.ledger.offer([ref_of(message) for message in _messages(exchange)], "")

    def _take(self, exchange: Exchange) -> None:
        self._offer(exchange)
        self.bodies.append(orjson.loads(exchange.body))
        bulk = exchange.path.endswith("/bulk_messages")
        messages = _messages(exchange)
        taken = [self._accept(message) for message in messages]
        self.ledger.accept(taken, "", "", len(taken))
        for mail in taken:
            self._tell(mail)
        answers = [answer(mail) for mail in taken]
        if self.faults.strikes("hang"):
            return
        if self.faults.strikes("drop_after_accept"):
            self.ledger.counts["dropped"] += 1
            exchange.hang_up()
            return
        if self.faults.strikes("error_after_accept"):
            exchange.answer_json(500, {"errors": "Internal server error"})
            return
        exchange.answer_json(200, {"messages": answers} if bulk else answers[0])

    def _accept(self, message: dict[str, Any]) -> Accepted:
        return Accepted(ref_of(message), str(uuid.uuid4()), message, wall_clock())

    def _tell(self, mail: Accepted) -> None:
        if not self.faults.webhook_url or self.faults.strikes("webhook_silent"):
            return
        seconds = self.faults.webhook_delay_ms / 1000
        for recipient in recipients(mail):
            if (name := PUSHED.get(literal_of(recipient))) is not None:
                body = orjson.dumps(pushed(name, next(self._numbers), mail, recipient))
                hook = UnsignedHook(str(uuid.uuid4()), self.faults.webhook_url, "", body)
                self.hooks.tell(
                    hook,
                    seconds,
                    duplicate_percent=self.faults.webhook_duplicate_percent,
                    shuffle=self.faults.webhook_shuffle,
                )


NOT_FOUND = {
    "code": 404,
    "title": "Message was not found",
    "details": "Message with this tracking id was not found",
}


def _messages(exchange: Exchange) -> list[dict[str, Any]]:
    data = orjson.loads(exchange.body)["data"]
    messages: list[dict[str, Any]] = data["messages"] if "messages" in data else [data["message"]]
    return messages


def ref_of(message: dict[str, Any]) -> str:
    return str(message["headers"].get(REF_HEADER, ""))


def answer(mail: Accepted) -> dict[str, Any]:
    echoed = {k: v for k, v in mail.mail["headers"].items() if k.lower().startswith("x-")}
    return {"sourceTrackingId": mail.id, "customHeaders": echoed, "data": "Service OK"}


def recipients(mail: Accepted) -> list[str]:
    message = mail.mail
    everyone = [*message["recipients"], *message.get("cc", ()), *message.get("bcc", ())]
    return [parseaddr(address)[1] for address in everyone]


def literal_of(recipient: str) -> str:
    local = recipient.partition("@")[0].partition("+")[0]
    return LITERALS.get(local, "delivered")


def receipt(mail: Accepted) -> dict[str, Any]:
    at = format_datetime(datetime.fromtimestamp(mail.at, UTC))
    deliveries = [
        {
            "recipient": recipient,
            "status": {
                "deliveryStatus": literal_of(recipient),
                "deliveryTime": at,
                "openedStatus": None,
                "openedTime": "",
            },
        }
        for recipient in recipients(mail)
    ]
    message = {"id": f"<{mail.id}@authorized_domain.com>", "message_deliveries": deliveries}
    return {"sourceTrackingId": mail.id, "data": {"message": message}}


def pushed(name: str, number: int, mail: Accepted, recipient: str) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payload = {
        "id": number,
        "subject": mail.mail["headers"]["subject"],
        "header_message_id": f"<{mail.id}@x>",
        "source_tracking_id": mail.id,
        "outbound_queue_id": f"q{number}",
        "time": at,
        "from": mail.mail["headers"]["from"],
        "to": recipient,
        "custom_headers": {
            k: v for k, v in mail.mail["headers"].items() if k.lower().startswith("x-")
        },
    }
    return {"event_name": name, "payload": payload}


if __name__ == "__main__":
    control.main("tests.doubles.paubox", PauboxDouble)
