"""A local server that speaks Resend's API, with its keys, limits and webhooks, faults on demand and a ledger.

    python -m tests.doubles.resend --port 0 --journal mails.jsonl --set rate_limit=10

prints {"port": ..., "url": ...} and serves until SIGTERM. In a test: `async with ResendDouble() as double`.
`GET /_report` tells what it took, `POST /_faults` sets switches (`faults.py`), `POST /_reset` forgets everything.
API keys decide who calls: `re_restricted...` may only send, `re_suspended...` and `re_invalid...` are refused.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Self

import orjson

from tests.doubles import control, resend_mail
from tests.doubles.faults import Faults
from tests.doubles.hooks import Hooks
from tests.doubles.ledger import Accepted, Kept, Ledger, wall_clock
from tests.doubles.wire import Exchange, HttpServer

_SENDS = ("/emails", "/emails/batch")


@dataclass(slots=True)
class _Call:
    """A send on its way through the double."""

    exchange: Exchange
    team: str
    scope: str
    key: str
    limits: str  # the rate headers of its answer
    kept: Kept | None = None


class ResendDouble:
    """The server, its switches and its ledger."""

    def __init__(self, *, port: int = 0, journal: Path | None = None, **switches: Any) -> None:
        self._server = HttpServer(self._handle, port)
        self._journal = journal
        self.faults = Faults()
        self.faults.set(**switches)
        self.ledger = Ledger(journal)
        self.hooks = Hooks()
        self._windows: dict[str, tuple[int, int]] = {}  # team -> (second, calls in it)

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
        return self._server.url

    @property
    def mails(self) -> list[Accepted]:
        """The mails taken so far (the latest 50,000), in order."""
        return list(self.ledger.mails.values())

    def report(self) -> dict[str, Any]:
        return {**self.ledger.report(), "webhooks": self.hooks.report()}

    def reset(self) -> None:
        """Forget everything but the switches; a journal starts anew."""
        self.ledger.close()
        if self._journal is not None:
            self._journal.unlink(missing_ok=True)
        self.ledger = Ledger(self._journal)
        self._windows.clear()

    # ── Routes ───────────────────────────────────────────────────────────────────────────────────

    def _handle(self, exchange: Exchange) -> None:
        if exchange.path.startswith("/_"):
            control.answer(self, exchange)
            return
        team = exchange.header(b"authorization").removeprefix("Bearer ").strip()
        self.ledger.arrive(team, exchange.arrived)
        if exchange.method == "POST" and exchange.path in _SENDS:
            self._send(exchange, team)
            return
        self.ledger.counts["other_calls"] += 1
        limits = self._limits(team)
        refused = self._stranger(exchange, team) or self._over_limit(team)
        if refused is None and team.startswith("re_restricted"):
            refused = resend_mail.RESTRICTED
        status, body = refused or self._look_up(exchange)
        exchange.answer_json(status, body, limits)

    def _look_up(self, exchange: Exchange) -> tuple[int, dict[str, Any]]:
        if exchange.method == "GET" and exchange.path == "/domains":
            return 200, resend_mail.DOMAINS
        if exchange.method == "GET" and exchange.path.startswith("/emails/"):
            accepted = self.ledger.mails.get(exchange.path.rpartition("/")[2])
            if accepted is not None:
                seconds = self.faults.webhook_delay_ms / 1000
                return 200, resend_mail.status_of(accepted, wall_clock() - accepted.at, seconds)
            return resend_mail.error(404, "not_found", "Email not found")
        return resend_mail.error(404, "not_found", "The requested endpoint does not exist.")

    # ── A send ───────────────────────────────────────────────────────────────────────────────────

    def _send(self, exchange: Exchange, team: str) -> None:
        key = exchange.header(b"idempotency-key")
        call = _Call(exchange, team, f"{exchange.path} {team} {key}", key, self._limits(team))
        self.ledger.counts["calls"] += 1
        same = True
        if key:
            call.kept, same = self.ledger.open_key(call.scope, exchange.body)
        if self.faults.strikes("drop_before_accept"):
            self.ledger.counts["dropped"] += 1
            self._offer(call)
            exchange.hang_up()
            return
        refused = self._refusal(call)
        if refused is None and call.kept is not None and (call.kept.running or not same):
            refused = resend_mail.CONCURRENT if same else resend_mail.OTHER_BODY
        if refused is None:
            self._take_in_time(call)
        else:
            self._refuse(call, *refused)

    def _refusal(self, call: _Call) -> tuple[int, dict[str, Any]] | None:
        """Why this call takes nothing, if there is a reason."""
        if (refused := self._stranger(call.exchange, call.team)) is not None:
            return refused
        if (refused := self._over_limit(call.team)) is not None:
            return refused
        if self.faults.strikes("throttle"):
            return resend_mail.TOO_MANY
        if self.faults.strikes("error"):
            return resend_mail.UNAVAILABLE
        if (script := self.faults.scripted()) is not None:
            return resend_mail.error(script["status"], script["name"], script["message"])
        return None

    def _refuse(self, call: _Call, status: int, body: dict[str, Any]) -> None:
        retry = f"retry-after: {self.faults.retry_after}\r\n" if status == 429 else ""
        self.ledger.calls_by_status[status] += 1
        if status >= 500:
            self._offer(call)
        call.exchange.answer_json(status, body, call.limits + retry)

    def _offer(self, call: _Call) -> None:
        """Remember which mails this call may have taken, as far as its caller can know."""
        mails = orjson.loads(call.exchange.body)
        listed = mails if isinstance(mails, list) else [mails]
        self.ledger.offer([resend_mail.ref_of(mail) for mail in listed], call.key)

    def _take_in_time(self, call: _Call) -> None:
        if self.faults.latency_ms <= 0:
            self._take(call)
            return
        if call.kept is not None:
            call.kept.running = True
        # A vendor goes on with what it read, also when the caller is gone.
        seconds = self.faults.latency_ms / 1000
        asyncio.get_running_loop().call_later(seconds, partial(self._take, call))

    def _take(self, call: _Call) -> None:
        if call.kept is not None:
            call.kept.running = False
        if call.kept is not None and call.kept.answer is not None:
            self._answer(call, 200, call.kept.answer)
            return
        status, body = self._accept(call)
        answer = orjson.dumps(body)
        if status == 200 and call.kept is not None:
            call.kept.answer = answer
        self._answer(call, status, answer)

    def _answer(self, call: _Call, status: int, body: bytes) -> None:
        counts = self.ledger.counts
        if self.faults.strikes("hang"):
            counts["hung"] += 1
        elif self.faults.strikes("drop_after_accept"):
            counts["dropped"] += 1
            call.exchange.hang_up()
        elif self.faults.strikes("error_after_accept"):
            self._refuse(call, *resend_mail.BROKEN)
        else:
            self.ledger.calls_by_status[status] += 1
            call.exchange.answer(status, body, call.limits)

    def _accept(self, call: _Call) -> tuple[int, dict[str, Any]]:
        """Check the mails, take the good ones, say what became of each."""
        try:
            mails = orjson.loads(call.exchange.body)
        except orjson.JSONDecodeError:
            return resend_mail.error(400, "validation_error", "The body is not valid JSON.")
        batch = call.exchange.path == "/emails/batch"
        strict = call.exchange.header(b"x-batch-validation") != "permissive"
        checked = resend_mail.check(mails, batch=batch, domains=self.faults.unverified_domains)
        if isinstance(checked, tuple):
            return checked
        if checked and (strict or not batch):
            return next(iter(checked.values()))
        self._offer(call)
        mails = mails if batch else [mails]
        accepted = [
            Accepted(resend_mail.ref_of(mail), resend_mail.new_id(), mail, wall_clock(), index)
            for index, mail in enumerate(mails)
            if index not in checked
        ]
        if batch:
            self.ledger.counts["attachments_dropped"] += resend_mail.drop_attachments(mails)
        self.ledger.calls_by_size[len(mails)] += 1
        self.ledger.accept(accepted, call.key, call.scope, len(mails))
        resend_mail.report_events(self.hooks, self.faults, accepted)
        if not batch:
            return 200, {"id": accepted[0].id}
        return 200, resend_mail.batch_answer(accepted, checked, permissive=not strict)

    # ── Who calls, and how often ─────────────────────────────────────────────────────────────────

    def _stranger(self, exchange: Exchange, team: str) -> tuple[int, dict[str, Any]] | None:
        if not exchange.header(b"user-agent"):
            return resend_mail.error(403, "forbidden", "error code: 1010")
        if not team:
            return resend_mail.error(401, "missing_api_key", "Missing API Key")
        if team.startswith("re_suspended"):
            return resend_mail.error(403, "suspended_api_key", "This API key is suspended")
        if not team.startswith("re_") or team.startswith("re_invalid"):
            return resend_mail.error(401, "validation_error", "API key is invalid")
        return None

    def _over_limit(self, team: str) -> tuple[int, dict[str, Any]] | None:
        limit = self.faults.rate_limit
        return resend_mail.TOO_MANY if limit and self._windows[team][1] > limit else None

    def _limits(self, team: str) -> str:
        """Count the call in its fixed window; the rate headers that its answer carries."""
        second = int(monotonic())
        known, calls = self._windows.get(team, (second, 0))
        calls = calls + 1 if known == second else 1
        self._windows[team] = (second, calls)
        if not self.faults.ratelimit_headers:
            return ""
        limit = self.faults.rate_limit or self.faults.named_limit
        return (
            f"ratelimit-limit: {limit}\r\nratelimit-remaining: {max(0, limit - calls)}\r\n"
            f"ratelimit-reset: 1\r\nratelimit-policy: {limit};w=1\r\n"
        )


if __name__ == "__main__":
    control.main("tests.doubles.resend", ResendDouble)
