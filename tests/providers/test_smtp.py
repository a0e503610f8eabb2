"""SMTP keeps what every provider keeps, over a real server with TLS and sign-in, reply by reply."""

import email
import email.policy
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from postroom.errors import ProviderRefused, ProviderSlow, ProviderUnreachable
from postroom.providers import smtp as smtp_module
from postroom.providers import smtp_pool
from postroom.providers.base import Attachment, EventKind, OutcomeKind
from postroom.providers.smtp import Smtp
from postroom.providers.smtp_answers import Reply, Stage, event_of_recipient, outcome_of_reply
from postroom.providers.smtp_presets import ses_password
from tests.doubles.smtp import SmtpDouble
from tests.providers.contract import ProviderContract, Vendor, a_mail

REJECTED, MISCONFIGURED = OutcomeKind.REJECTED, OutcomeKind.MISCONFIGURED
THROTTLED, UNKNOWN, NOT_SENT = OutcomeKind.THROTTLED, OutcomeKind.UNKNOWN, OutcomeKind.NOT_SENT


class Hasty(Smtp):
    """SMTP for callers who wait a moment only."""

    capabilities = replace(Smtp.capabilities, call_timeout=5.4)


@pytest.fixture
async def double() -> AsyncIterator[SmtpDouble]:
    async with SmtpDouble() as running:
        yield running
        smtp_pool.close_idle()


def credentials(double: SmtpDouble, **more: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": double.port,
        "security": "tls" if double.implicit_tls else "starttls",
        "username": "jane",
        "password": "secret",
        "caCertificate": double.certificate,
        **more,
    }


@pytest.fixture
def smtp(double, http):
    return Smtp(credentials(double), http)


def _reply(**replies: str) -> Callable[[SmtpDouble], None]:
    return lambda double: double.replies.update(replies)


def _drop(place: str) -> Callable[[SmtpDouble], None]:
    return lambda double: setattr(double, "drop_at", place)


FAILURES: dict[str, tuple[Callable[[SmtpDouble], None], OutcomeKind]] = {
    "MAIL 421": (_reply(MAIL="421 4.3.2 too many connections"), THROTTLED),
    "MAIL 450": (_reply(MAIL="450 4.7.1 slow down"), THROTTLED),
    "MAIL 451": (_reply(MAIL="451 try again"), THROTTLED),
    "MAIL 530": (_reply(MAIL="530 5.7.0 Authentication required"), MISCONFIGURED),
    "MAIL 550": (_reply(MAIL="550 5.7.1 Sender denied"), MISCONFIGURED),
    "MAIL 553": (_reply(MAIL="553 not your domain"), MISCONFIGURED),
    "MAIL 552": (_reply(MAIL="552 5.3.4 Message too big"), REJECTED),
    "RCPT 450": (_reply(RCPT="450 4.2.0 greylisted"), THROTTLED),
    "RCPT 452": (_reply(RCPT="452 4.2.2 mailbox full"), THROTTLED),
    "RCPT 454": (_reply(RCPT="454 Throttling failure"), THROTTLED),
    "RCPT 550": (_reply(RCPT="550 5.1.1 <canary@patients.test> unknown"), REJECTED),
    "RCPT 550 not verified": (_reply(RCPT="550 domain not verified"), MISCONFIGURED),
    "RCPT 554": (_reply(RCPT="554 5.7.1 relay access denied"), MISCONFIGURED),
    "RCPT 553": (_reply(RCPT="553 5.1.3 bad address"), REJECTED),
    "DATA 421": (_reply(DATA="421 closing"), THROTTLED),
    "DATA 451": (_reply(DATA="451 4.4.2 Timeout"), THROTTLED),
    "DATA 454": (_reply(DATA="454 Throttling failure: Maximum sending rate exceeded"), THROTTLED),
    "DATA 535": (_reply(DATA="535 Authentication Credentials Invalid"), MISCONFIGURED),
    "DATA 552": (_reply(DATA="552 5.3.4 Message too long"), REJECTED),
    "DATA 554": (_reply(DATA="554 5.6.0 Message rejected: content"), REJECTED),
    "DATA 554 not verified": (
        _reply(DATA="554 Message rejected: Email address is not verified."),
        MISCONFIGURED,
    ),
    "DATA 554 denied": (_reply(DATA="554 Access denied: User is not authorized"), MISCONFIGURED),
    "lost at MAIL": (_drop("MAIL"), NOT_SENT),
    "lost at RCPT": (_drop("RCPT"), NOT_SENT),
    "lost after the text": (_drop("END"), UNKNOWN),
    "a wrong password": (lambda double: double.users.clear(), MISCONFIGURED),
}


class SmtpVendor(Vendor):
    def __init__(self, double: SmtpDouble) -> None:
        self.double = double

    def accept(self) -> None:
        self.double.replies.clear()

    def fail(self, failure: str) -> None:
        FAILURES[failure][0](self.double)

    def bodies(self) -> list[bytes]:
        return [bytes(mail.content or b"") for mail in self.double.mails]


class TestSmtp(ProviderContract):
    provider_class = Smtp
    failures = {name: kind for name, (_, kind) in FAILURES.items()}
    misfits = {
        "nobody": lambda: a_mail(to=()),
        "fifty-one recipients": lambda: a_mail(to=("a@x.test",) * 50),
        "nothing to read": lambda: a_mail(html=None, text=None),
        "over 40 MB": lambda: a_mail(attachments=(Attachment("a", "A" * 40_000_000),)),
        "our own header": lambda: a_mail(headers={"X-Postroom-Id": "x"}),
        "a configuration set of somebody's own": lambda: a_mail(
            headers={"x-ses-configuration-set": "x"}
        ),
        "a sender in a header": lambda: a_mail(headers={"Sender": "x@x.test"}),
        "an address beyond ASCII": lambda: a_mail(to=("jäne@x.test",)),
        "an address that is none": lambda: a_mail(to=("jane doe <a b@x.test>",)),
    }

    @pytest.fixture
    def vendor(self, double):
        return SmtpVendor(double)

    @pytest.fixture
    def provider(self, smtp):
        return smtp


# ── What is said ─────────────────────────────────────────────────────────────────────────────────


async def test_a_mail_arrives_with_everything_in_it(double, smtp):
    attachments = (
        Attachment("scan.png", "iVBORw==", None, "scan-1"),
        Attachment("letter.eml", "RnJvbTogYUB4DQoNCmE=", "message/rfc822"),
    )
    mail = a_mail(bcc=("hidden@x.test",), attachments=attachments, subject="Grüße", text=".\n..x")
    answer = await smtp.send([mail], "key")
    (envelope,) = double.mails
    assert envelope.mail_from == "hello@clinic.test"
    assert envelope.rcpt_tos == ["canary@patients.test", "copy@patients.test", "hidden@x.test"]
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert message["subject"] == "Grüße"
    assert message["bcc"] is None
    assert message["date"] is not None
    assert message["message-id"] == f"<smtp-{mail.ref}@clinic.test>"
    assert message["x-postroom-id"] == mail.ref
    assert message.get_body(("plain",)).get_content() == ".\r\n..x\r\n"
    files = {part.get_filename(): part for part in message.walk() if part.get_filename()}
    assert files["scan.png"].get_content() == b"\x89PNG"
    assert files["letter.eml"].get_content_type() == "application/octet-stream"
    assert answer.outcomes[0].provider_id == f"smtp-{mail.ref}"


async def test_the_id_of_amazon_ses_is_read_from_its_reply(double, smtp):
    made = "0100018c5e5e1b0a-11111111-2222-3333-4444-555555555555-000000"
    double.replies["END"] = f"250 Ok {made}"
    answer = await smtp.send([a_mail()], "key")
    assert answer.outcomes[0].provider_id == made


@pytest.mark.parametrize(
    ("preset", "headers"),
    [
        ("resend", {"resend-idempotency-key": a_mail().ref}),
        ("paubox", {"x-postroom-id": a_mail().ref}),
        (
            "ses",
            {
                "x-ses-configuration-set": "tls",
                "x-ses-message-tags": f"kind=result, postroom={a_mail().ref}",
            },
        ),
    ],
)
async def test_a_preset_adds_what_its_vendor_reads(double, http, preset, headers):
    double.users["jane"] = ses_password("secret", "eu-west-1") if preset == "ses" else "secret"
    given = credentials(double, preset=preset, region="eu-west-1", configurationSet="tls")
    answer = await Smtp(given, http).send([a_mail()], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
    message = email.message_from_bytes(double.mails[0].content, policy=email.policy.default)
    for name, value in headers.items():
        assert "".join(message[name].split()) == "".join(value.split())


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ({"preset": "resend"}, ("smtp.resend.com", 465, True, "resend", "p")),
        ({"preset": "paubox"}, ("smtp.paubox.com", 587, False, "apikey", "p")),
        (
            {"preset": "paubox", "port": 465, "security": "tls"},
            ("smtp.paubox.com", 465, True, "apikey", "p"),
        ),
        (
            {"preset": "ses", "region": "eu-west-1", "username": "AKIA"},
            (
                "email-smtp.eu-west-1.amazonaws.com",
                465,
                True,
                "AKIA",
                ses_password("p", "eu-west-1"),
            ),
        ),
        (
            {"host": "mx.test", "port": 25, "security": "starttls", "username": "u"},
            ("mx.test", 25, False, "u", "p"),
        ),
    ],
)
def test_a_preset_knows_where_and_as_whom(http, given, server):
    found = Smtp({"password": "p", **given}, http)._server
    assert (found.host, found.port, found.implicit_tls, found.username, found.password) == server
    assert "password" not in repr(found)


def test_the_password_of_amazon_ses_is_derived_once():
    # The example of AWS's own documentation of the algorithm has no result; this one was made by its script.
    derived = ses_password("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1")
    assert len(derived) == 44
    assert ses_password(derived, "us-east-1") == derived
    assert ses_password("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-west-1") != derived


# ── TLS, always ──────────────────────────────────────────────────────────────────────────────────


async def test_starttls_is_used_where_it_was_set_up(http):
    async with SmtpDouble(implicit_tls=False) as double:
        answer = await Smtp(credentials(double), http).send([a_mail()], "key")
        assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
        smtp_pool.close_idle()


async def test_a_server_that_offers_no_tls_gets_no_mail_and_no_password(http):
    async with SmtpDouble(implicit_tls=False, offer_tls=False) as double:
        answer = await Smtp(credentials(double), http).send([a_mail()], "key")
        assert answer.outcomes[0].kind is MISCONFIGURED
        assert double.mails == []
        assert double.counts["sign-ins"] == 0


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"caCertificate": None}, MISCONFIGURED),
        ({"caCertificate": "no certificate"}, MISCONFIGURED),
        ({"host": "localhost"}, MISCONFIGURED),
        ({"port": 1}, NOT_SENT),
        ({"host": "nobody.invalid"}, NOT_SENT),
        ({"security": "starttls"}, NOT_SENT),
    ],
    ids=["unknown CA", "no CA", "another name", "nobody there", "no such host", "other protocol"],
)
async def test_a_server_that_cannot_be_verified_gets_nothing(
    monkeypatch, double, http, change, kind
):
    monkeypatch.setattr(smtp_module, "_CONNECT_SECONDS", 0.4)
    account = Hasty({**credentials(double), **change}, http)
    answer = await account.send([a_mail()], "key")
    assert answer.outcomes[0].kind is kind
    assert double.counts["sign-ins"] == 0
    with pytest.raises((ProviderRefused, ProviderSlow, ProviderUnreachable)):
        await account.verify()


async def test_credentials_are_tried_without_a_mail(double, smtp):
    await smtp.verify()
    double.users.clear()
    with pytest.raises(ProviderRefused, match="535"):
        await smtp.verify()
    assert double.mails == []


# ── Kept connections ─────────────────────────────────────────────────────────────────────────────


async def test_mails_share_a_connection_also_across_openings_of_the_account(double, http):
    for number in range(5):
        answer = await Smtp(credentials(double), http).send([a_mail(number)], "key")
        assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
    assert double.counts["connections"] == 1
    assert len(double.mails) == 5


async def test_a_connection_that_the_server_closed_is_replaced(double, smtp):
    await smtp.send([a_mail(1)], "key")
    double.cut()
    answer = await smtp.send([a_mail(2)], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
    assert len(double.mails) == 2


async def test_a_connection_is_worn_after_a_hundred_mails(monkeypatch, double, smtp):
    monkeypatch.setattr(smtp_pool, "MOST_MAILS", 2)
    for number in range(5):
        await smtp.send([a_mail(number)], "key")
    assert double.counts["connections"] == 3


@pytest.mark.parametrize(
    ("place", "kind"), [("MAIL", NOT_SENT), ("RCPT", NOT_SENT), ("END", UNKNOWN)]
)
async def test_a_server_that_falls_silent_is_known_by_where_it_did(double, http, place, kind):
    double.hang_at = place
    answer = await Hasty(credentials(double), http).send([a_mail()], "key")
    assert answer.outcomes[0].kind is kind
    assert len(double.mails) == (place == "END")


# ── Recipients, one by one ───────────────────────────────────────────────────────────────────────


async def test_who_is_refused_is_told_and_the_others_get_the_mail(double, smtp):
    to = ("good@x.test", "550-5.1.1@x.test", "552-5.2.2@x.test", "450-4.2.0@x.test")
    answer = await smtp.send([a_mail(to=to, cc=())], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
    assert double.mails[0].rcpt_tos == ["good@x.test"]
    told = {event.recipient: event for _, event in answer.later}
    assert {name: event.kind for name, event in told.items()} == {
        "550-5.1.1@x.test": EventKind.HARD_BOUNCED,
        "552-5.2.2@x.test": EventKind.SOFT_BOUNCED,
        "450-4.2.0@x.test": EventKind.SOFT_BOUNCED,
    }
    assert told["550-5.1.1@x.test"].code == "550 5.1.1"
    assert told["550-5.1.1@x.test"].reason == "550 5.1.1 <<address>> is refused."
    assert {event.ref for event in told.values()} == {a_mail().ref}


async def test_when_all_are_refused_nothing_is_sent_and_the_connection_is_kept(double, smtp):
    answer = await smtp.send([a_mail(to=("550-5.1.1@x.test",), cc=())], "key")
    assert answer.outcomes[0].kind is REJECTED
    assert [event.kind for _, event in answer.later] == [EventKind.HARD_BOUNCED]
    await smtp.send([a_mail(to=("good@x.test",), cc=())], "key")
    assert double.counts["connections"] == 1
    assert len(double.mails) == 1


async def test_a_greylisted_recipient_waits_alone(double, smtp):
    answer = await smtp.send([a_mail(to=("450-4.2.0@x.test",), cc=())], "key")
    assert answer.outcomes[0].kind is THROTTLED
    assert answer.outcomes[0].wait == 300


@pytest.mark.parametrize(
    ("code", "text", "alone", "kind"),
    [
        (550, "5.1.1 unknown", True, EventKind.HARD_BOUNCED),
        (550, "5.1.2 no such domain", True, EventKind.HARD_BOUNCED),
        (550, "5.1.10 null MX", True, EventKind.HARD_BOUNCED),
        (550, "no", True, EventKind.SOFT_BOUNCED),
        (550, "no", False, EventKind.HARD_BOUNCED),
        (550, "5.7.1 policy", False, EventKind.SOFT_BOUNCED),
        (552, "5.2.2 full", False, EventKind.SOFT_BOUNCED),
        (550, "4.1.1 disagrees with its own code", True, EventKind.SOFT_BOUNCED),
        (450, "4.1.1 later", False, EventKind.SOFT_BOUNCED),
    ],
)
def test_an_address_is_accused_only_by_a_precise_code(code, text, alone, kind):
    assert event_of_recipient(Reply(code, text), alone=alone) is kind


@pytest.mark.parametrize(
    ("code", "stage", "kind"),
    [(250, Stage.DATA, UNKNOWN), (354, Stage.DATA, UNKNOWN), (999, Stage.RECIPIENT, NOT_SENT)],
)
def test_a_reply_that_makes_no_sense_is_no_proof(code, stage, kind):
    assert outcome_of_reply(Reply(code, "?"), stage).kind is kind
