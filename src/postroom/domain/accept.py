"""Mails come in: check, fill, seal, and hand them to the intake; one path for one mail and for a hundred."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import time
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from postroom.crypto import recipient_key
from postroom.domain import content
from postroom.domain.connections import ConnectionBook, ConnectionInfo, OpenConnection
from postroom.domain.content import Content
from postroom.domain.filling import Filled, Filler, Wish
from postroom.domain.idempotency import Keyed
from postroom.domain.intake import Intake
from postroom.domain.new_mails import NewMail
from postroom.domain.projects import Caller
from postroom.domain.submissions import Accepted, Submission
from postroom.errors import Forbidden, InvalidPayload
from postroom.ids import new_id
from postroom.providers.base import Attachment, Capabilities, OutgoingMail
from postroom.queue import TRANSACTIONAL, Lane
from postroom.resources import Keys

# A project that sends more than a tenth of a lane's speed gets later places.
SHARE = 10.0
UNPACED_COST = 0.001
LARGE = 262_144  # bytes from which sealing would hold the event loop for longer than it may


class Letter(NamedTuple):
    """A mail as a client asked for it: checked, its template filled."""

    to: tuple[str, ...]
    subject: str
    html: str | None = None
    text: str | None = None
    sender: str | None = None
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    attachments: tuple[Attachment, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    scheduled_at: datetime | None = None
    template: dict[str, Any] | None = None

    @property
    def recipients(self) -> tuple[str, ...]:
        return self.to + self.cc + self.bcc


class Composed(NamedTuple):
    """A mail ready for the intake, and the sender that it will carry."""

    mail: NewMail
    sender: str


class Turns:
    """Each mail's place in its lane's line, decided at accept; losing this memory is harmless.

    A project that sends more than a tenth of a lane's speed gets later places, a small sender stays in front,
    and nobody starves, because a turn never moves and time does.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[UUID, Lane], int] = {}

    def next(self, project_id: UUID, lane: Lane, cost: float) -> int:
        """The place, in µs since 1970, of a mail that takes `cost` seconds of the project's share."""
        now = int(time() * 1e6)
        if len(self._last) > 50_000:
            self._last = {key: turn for key, turn in self._last.items() if turn > now}
        key = (project_id, lane)
        turn = max(now, self._last.get(key, 0) + int(cost * 1e6))
        self._last[key] = turn
        return turn


def turn_cost(info: ConnectionInfo, can: Capabilities, pack_max: int) -> float:
    """Seconds of its project's share that a mail takes in its lane."""
    rate = info.rate_per_second or can.rate_per_second
    if not rate:
        return UNPACED_COST
    return SHARE / (rate * pack_max)


class Acceptor:
    """What accepting needs in one process: the connections, the line's memory, templates and the intake."""

    def __init__(self, keys: Keys, book: ConnectionBook, intake: Intake, filler: Filler) -> None:
        self._keys = keys
        self._book = book
        self._intake = intake
        self._filler = filler
        self._turns = Turns()

    async def fill(self, caller: Caller, wish: Wish) -> Filled:
        """The texts of a mail that is made of a template or has variables."""
        return await self._filler.fill(caller.project_id, wish)

    async def sending(self, caller: Caller) -> OpenConnection:
        """The connection that carries this caller's mails; fails closed for health data."""
        return await self._book.get(_sender_of(caller).id)

    def sending_now(self, caller: Caller) -> OpenConnection | None:
        """The same, if this process has it open; None means to ask again with time to wait."""
        return self._book.peek(_sender_of(caller).id)

    async def compose(self, caller: Caller, sending: OpenConnection, letter: Letter) -> Composed:
        """Resolve the sender, check what the vendor could never carry, seal; a large mail in a thread."""
        if _weight(letter) > LARGE:
            return await asyncio.to_thread(self.compose_now, caller, sending, letter)
        return self.compose_now(caller, sending, letter)

    def compose_now(self, caller: Caller, sending: OpenConnection, letter: Letter) -> Composed:
        """The same, for as long as sealing takes; a small mail's takes some microseconds."""
        sender, is_default = resolve_sender(sending.info, letter.sender)
        mail_id = new_id()
        outgoing = _outgoing(caller.project_id, mail_id, letter, sender)
        if (sentence := sending.provider.refuses(outgoing)) is not None:
            raise InvalidPayload(sentence, code="unsupported_by_provider")
        sealed = content.seal(self._keys.ring, mail_id, Content(outgoing, is_default))
        return Composed(
            self._new_mail(caller, sending, letter, outgoing, (mail_id, sealed)), sender
        )

    def _new_mail(
        self,
        caller: Caller,
        sending: OpenConnection,
        letter: Letter,
        outgoing: OutgoingMail,
        kept: tuple[UUID, bytes],
    ) -> NewMail:
        mail_id, sealed = kept
        can = sending.provider.capabilities
        alone = bool(letter.attachments) and not can.attachments_in_batch
        pack_max = 1 if alone else can.batch_size
        lane = Lane(sending.info.id, TRANSACTIONAL)
        private = caller.phi
        return NewMail(
            id=mail_id,
            connection_id=lane.connection_id,
            stream=lane.stream,
            turn=self._turns.next(caller.project_id, lane, turn_cost(sending.info, can, pack_max)),
            pack_max=pack_max,
            content=sealed,
            recipients=() if private else letter.recipients,
            recipient_keys=tuple(
                recipient_key(self._keys.index, bare_address(a)) for a in letter.recipients
            ),
            to_count=len(letter.to),
            subject=None if private else letter.subject,
            sender=outgoing.sender,
            sealed=self._private(mail_id, letter) if private else None,
            template=letter.template,
            tags=[{"name": n, "value": v} for n, v in letter.tags] or None,
            waits_until=letter.scheduled_at,
        )

    def _private(self, mail_id: UUID, letter: Letter) -> bytes:
        """Recipients and subject of a health-data mail, which no column holds in clear."""
        plain = orjson.dumps({"recipients": letter.recipients, "subject": letter.subject})
        return self._keys.ring.seal(plain, b"log:" + mail_id.bytes)

    async def submit(
        self,
        caller: Caller,
        mails: Sequence[NewMail],
        answer: Callable[[int], dict[str, Any]],
        keyed: Keyed | None,
    ) -> Accepted:
        """Write the mails of one request down, all or none; on return they are ours."""
        return await self.put(caller, mails, answer, keyed)

    def put(
        self,
        caller: Caller,
        mails: Sequence[NewMail],
        answer: Callable[[int], dict[str, Any]],
        keyed: Keyed | None,
    ) -> asyncio.Future[Accepted]:
        """The same for a caller that does not wait; cancelling drops what was not taken up yet."""
        submission = Submission(caller.project_id, caller.plan.monthly_limit, mails, answer, keyed)
        return self._intake.put(submission)


def _sender_of(caller: Caller) -> ConnectionInfo:
    """The account that may carry this caller's mails."""
    if caller.connection is None:
        raise InvalidPayload(
            "No mail provider is configured. Connect one under Providers & settings,"
            " or set MAIL_PROVIDER on the server.",
            code="no_provider",
        )
    if caller.phi and not caller.connection.phi_allowed:
        raise Forbidden(
            "This project carries health data and its provider is not allowed to."
            " Connect one that is, with phiAllowed set.",
            code="phi_not_allowed",
        )
    return caller.connection


def bare_address(recipient: str) -> str:
    """The address inside `Name <address>`."""
    if recipient.endswith(">"):
        return recipient[recipient.rfind("<") + 1 : -1].strip()
    return recipient


def resolve_sender(info: ConnectionInfo, asked: str | None) -> tuple[str, bool]:
    """The sender by the one order of all paths, and whether it is the account's default."""
    if asked and info.own:
        return asked, False
    if info.from_email:
        return info.from_email, True
    raise InvalidPayload(
        "No sender address is known. Give `from` in the request, set fromEmail on the provider"
        " connection, or EMAIL_FROM on the server.",
        code="no_sender",
    )


def _weight(letter: Letter) -> int:
    return (
        len(letter.html or "")
        + len(letter.text or "")
        + sum(len(a.content) for a in letter.attachments)
    )


def _outgoing(project_id: UUID, mail_id: UUID, letter: Letter, sender: str) -> OutgoingMail:
    return OutgoingMail(
        ref=content.ref(project_id, mail_id),
        sender=sender,
        to=letter.to,
        subject=letter.subject,
        html=letter.html,
        text=letter.text,
        cc=letter.cc,
        bcc=letter.bcc,
        reply_to=letter.reply_to,
        headers=letter.headers,
        attachments=letter.attachments,
        tags=letter.tags,
    )
