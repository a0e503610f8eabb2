"""A mail's content as it is kept: final, sealed, bound to the mail; a provider call is built from it alone."""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from postroom.crypto import Keyring
from postroom.providers.base import Attachment, OutgoingMail


class Content(NamedTuple):
    """What is sent, and whether the sender was the account's own default (a failover then uses another)."""

    mail: OutgoingMail
    default_sender: bool


def ref(project_id: UUID, mail_id: UUID) -> str:
    """The opaque id that a vendor carries and returns in its events."""
    return f"{project_id.hex}-{mail_id.hex}"


def parse_ref(value: str) -> tuple[UUID, UUID] | None:
    """Project and mail of a ref, or None for what is not one."""
    project, _, mail = value.partition("-")
    try:
        return UUID(hex=project), UUID(hex=mail)
    except ValueError:
        return None


def _kept(mail: OutgoingMail) -> dict[str, Any]:
    """The fields that are set, without the ref: the row knows it."""
    fields = {
        "sender": mail.sender,
        "to": mail.to,
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        "cc": mail.cc,
        "bcc": mail.bcc,
        "reply_to": mail.reply_to,
        "headers": mail.headers,
        "attachments": mail.attachments,
        "tags": mail.tags,
    }
    return {name: value for name, value in fields.items() if value}


def seal(ring: Keyring, mail_id: UUID, content: Content) -> bytes:
    """Seal content, bound to its mail."""
    plain = orjson.dumps({"mail": _kept(content.mail), "default": content.default_sender})
    return ring.seal(plain, mail_id.bytes)


def unseal(ring: Keyring, project_id: UUID, mail_id: UUID, sealed: bytes) -> Content:
    """Open content; raises Unsealable."""
    kept = orjson.loads(ring.unseal(sealed, mail_id.bytes))
    fields = kept["mail"]
    for name in ("to", "cc", "bcc", "reply_to"):
        fields[name] = tuple(fields.get(name, ()))
    fields["attachments"] = tuple(Attachment(**a) for a in fields.get("attachments", ()))
    fields["tags"] = tuple((name, value) for name, value in fields.get("tags", ()))
    fields.setdefault("subject", "")
    mail = OutgoingMail(ref=ref(project_id, mail_id), **fields)
    return Content(mail, kept["default"])


def without(content: Content, unwanted: Callable[[str], bool]) -> Content:
    """The content without the recipients that are unwanted."""
    mail = content.mail
    return content._replace(
        mail=mail._replace(
            to=tuple(a for a in mail.to if not unwanted(a)),
            cc=tuple(a for a in mail.cc if not unwanted(a)),
            bcc=tuple(a for a in mail.bcc if not unwanted(a)),
        ),
    )


def from_account(content: Content, sender: str) -> Content:
    """The content for another account: a sender that was a default becomes that account's default."""
    if not content.default_sender:
        return content
    return content._replace(mail=content.mail._replace(sender=sender))
