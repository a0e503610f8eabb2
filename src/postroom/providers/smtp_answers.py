"""What SMTP replies mean: the basic code decides, the enhanced code (RFC 3463) refines."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import aiosmtplib

from postroom.outgoing import PrivateAddress
from postroom.providers.base import EventKind, Outcome, OutcomeKind, without_addresses
from postroom.providers.network import private_address
from postroom.providers.smtp_pool import InvalidCertificate

_ENHANCED = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
# No such mailbox, no such domain, no valid address, a null MX: nobody will ever read it there.
_NO_SUCH_ADDRESS = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10"})
_TOO_LARGE = frozenset({"2.3", "3.4"})
_CREDENTIALS = frozenset({"7.8", "7.9"})
_ACCOUNT_CODES = frozenset({530, 534, 535, 538})
# What SES says under 554 about the account, and other relays about the sender.
_ACCOUNT_WORDS = ("not verified", "access denied", "not authorized", "unverified", "suspended")
# For one mail alone, such as a recipient that is greylisted.
LATER = 300.0


class Stage(StrEnum):
    """How far a mail came; nothing was sent before DATA ended."""

    CONNECT = "connect"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a server."""

    code: int
    text: str

    @property
    def detail(self) -> str:
        """Subject and detail of the enhanced code, where it agrees with the basic one."""
        found = _ENHANCED.search(self.text)
        if found is None or found[1] != str(self.code)[:1]:
            return ""
        return f"{int(found[2])}.{int(found[3])}"

    @property
    def word(self) -> str:
        """The codes as a log shows them."""
        detail = self.detail
        return f"{self.code} {str(self.code)[0]}.{detail}" if detail else str(self.code)

    @property
    def sentence(self) -> str:
        said = without_addresses(f"{self.code} {self.text}", 200)
        return said if said.endswith((".", "!", "?", "…")) else f"{said}."


def reply_of(error: aiosmtplib.SMTPResponseException) -> Reply:
    return Reply(error.code, error.message.replace("\x00", ""))


def outcome_of_reply(reply: Reply, stage: Stage) -> Outcome:
    """What a refusal means; a server that refused did not send."""
    kind = OutcomeKind.REJECTED
    wait = None
    if _about_account(reply, stage):
        kind = OutcomeKind.MISCONFIGURED
    elif reply.code < 400 or reply.code >= 600:
        kind = OutcomeKind.UNKNOWN if stage is Stage.DATA else OutcomeKind.NOT_SENT
    elif reply.code < 500:
        kind = OutcomeKind.THROTTLED
        alone = stage is Stage.RECIPIENT and not _about_pace(reply)
        wait = LATER if alone else None
    return Outcome(kind, reason=reply.sentence, code=reply.word, wait=wait)


def _about_pace(reply: Reply) -> bool:
    return reply.code in (421, 454) or reply.detail.startswith("7.")


def _about_account(reply: Reply, stage: Stage) -> bool:
    """Credentials, or a sender that may not send: no other mail of the account would fare better."""
    if reply.code in _ACCOUNT_CODES or (reply.code >= 500 and reply.detail in _CREDENTIALS):
        return True
    if reply.code < 500:
        return False
    if any(word in reply.text.lower() for word in _ACCOUNT_WORDS):
        return True
    # A sender that is refused for another reason than the size of its mail.
    return stage in (Stage.CONNECT, Stage.SENDER) and not too_large(reply)


def too_large(reply: Reply) -> bool:
    return reply.detail in _TOO_LARGE or (reply.code == 552 and reply.detail != "2.2")


def event_of_recipient(reply: Reply, *, alone: bool) -> EventKind:
    """What a recipient's refusal says of the address; without a precise code nobody is accused."""
    vague = not reply.detail and reply.code in (550, 551, 553) and not alone
    if reply.code >= 500 and (reply.detail in _NO_SUCH_ADDRESS or vague):
        return EventKind.HARD_BOUNCED
    return EventKind.SOFT_BOUNCED


# ── What is no reply ─────────────────────────────────────────────────────────────────────────────

_BEFORE: Mapping[bool, OutcomeKind] = {True: OutcomeKind.UNKNOWN, False: OutcomeKind.NOT_SENT}


def outcome_of_failure(title: str, failure: Exception, stage: Stage) -> Outcome:
    """A connection that failed: before DATA nothing was sent, from DATA on nobody can say."""
    lacks = type(failure) in (aiosmtplib.SMTPException, aiosmtplib.SMTPNotSupported)
    if lacks or isinstance(failure, InvalidCertificate | UnicodeError):
        return Outcome(OutcomeKind.MISCONFIGURED, reason=_cure(failure), code="tls")
    if isinstance(_cause(failure), ssl.SSLCertVerificationError):
        reason = "The server's certificate could not be verified: check host and caCertificate."
        return Outcome(OutcomeKind.MISCONFIGURED, reason=reason, code="certificate")
    if isinstance(failure, PrivateAddress):
        return Outcome(
            OutcomeKind.MISCONFIGURED, reason=private_address(title), code="private_address"
        )
    kind = _BEFORE[stage is Stage.DATA]
    if isinstance(failure, TimeoutError):
        return Outcome(kind, reason=f"{title} did not answer in time.", code=f"timeout_{stage}")
    if stage is Stage.CONNECT:
        return Outcome(kind, reason=f"{title} could not be reached.", code="unreachable")
    return Outcome(kind, reason=f"The connection to {title} broke.", code=f"lost_{stage}")


def _cure(failure: Exception) -> str:
    if isinstance(failure, InvalidCertificate):
        return str(failure)
    if isinstance(failure, UnicodeError):
        return "The name of the SMTP server is not a valid host name."
    return "The server offers no TLS or no way to sign in; without them no mail is sent."


def _cause(failure: BaseException) -> BaseException:
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return failure
