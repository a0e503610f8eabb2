"""Changing a project: its name, what sends for it, and how careful it is."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from postroom.domain import audit, byok, changes, connections, credentials, projects, stopped
from postroom.domain.byok import Wanted
from postroom.errors import InvalidPayload, Unsealable
from postroom.models import Connection, Project
from postroom.resources import Keys, Redis, Session


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("name must be a non-empty string.")
    return value.strip()


def _resend_key(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ValueError("resendApiKey must be a non-empty string.")
    if not credentials.is_resend_key(value.strip()):
        raise ValueError("Invalid Resend API Key format.")
    return value.strip()


def _resend_sender(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("resendFromEmail must be a string.")  # noqa: TRY004 - pydantic's protocol
    value = value.strip()
    if len(value) > 255:
        raise ValueError("resendFromEmail is too long.")
    if value and not credentials.is_sender(value):
        raise ValueError(
            "resendFromEmail must be a valid format (e.g., 'me@domain.com' or 'App <me@domain.com>')."
        )
    return value or None


# Never looked at: only fields that the patch names are.
UNNAMED: Any = None


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class ProjectPatch(BaseModel):
    """What may be changed; what is not named stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
        json_schema_extra=_without_defaults,
    )
    name: Annotated[str, BeforeValidator(_name), Field(max_length=100)] = UNNAMED
    resend_api_key: Annotated[str | None, BeforeValidator(_resend_key)] = Field(
        default=None, repr=False, description="`null` clears it."
    )
    resend_from_email: Annotated[str | None, BeforeValidator(_resend_sender)] = None
    mail_provider: str | None = Field(
        default=None, description="Which connection sends; `null` is the shared account."
    )
    failover_provider: str | None = None
    phi: bool = UNNAMED
    ambiguous_policy: Literal["park", "resend"] = UNNAMED
    content_retention_days: Annotated[int, Field(ge=0, le=3650)] = UNNAMED


_PLAIN = {"name", "phi", "ambiguous_policy", "content_retention_days"}


async def change(
    session: Session, redis: Redis, keys: Keys, who: audit.Who, patch: ProjectPatch
) -> None:
    """Apply what the patch names, all of it or nothing."""
    project = await projects.locked(session, who.project_id)
    touched = await _apply(session, keys, project, patch)
    await _require_consistent(session, project)
    for name in sorted(patch.model_fields_set):
        audit.note(session, who, "project.changed", name)
    # From here the next mail is sent by the new rules.
    await session.commit()
    for row in touched:
        await stopped.mended(redis, row.id)
        await byok.announce(redis, row)
    await changes.publish(redis, "project", project.id)


async def _apply(
    session: Session, keys: Keys, project: Project, patch: ProjectPatch
) -> list[Connection]:
    """Connections first, then the choice between them; returns the connections that changed."""
    given = patch.model_fields_set
    touched = []
    if "resend_from_email" in given:
        touched.append(await _set_resend_sender(session, project, patch.resend_from_email))
    if "resend_api_key" in given:
        touched.append(await _set_resend_key(session, keys, project, patch.resend_api_key))
        if patch.resend_api_key is not None:
            project.mail_connection_id = touched[-1].id
    if "mail_provider" in given:
        project.mail_connection_id = await _named(
            session, project, "mailProvider", patch.mail_provider
        )
    if "failover_provider" in given:
        project.failover_connection_id = await _named(
            session, project, "failoverProvider", patch.failover_provider
        )
    _apply_plain(project, patch)
    return touched


def _apply_plain(project: Project, patch: ProjectPatch) -> None:
    """The columns that are called what the setting is called."""
    for name in _PLAIN & patch.model_fields_set:
        setattr(project, name, getattr(patch, name))


async def _set_resend_sender(session: Session, project: Project, sender: str | None) -> Connection:
    """Remembered even before there is a key: it is then the sender of the account to come."""
    row = await byok.row_for(session, project.id, "resend")
    row.from_email = sender
    return row


async def _set_resend_key(
    session: Session, keys: Keys, project: Project, key: str | None
) -> Connection:
    row = await byok.row_for(session, project.id, "resend")
    if key is None:
        byok.take_out(project, row)
        return row
    fields = credentials.ResendFields.model_validate(
        {
            "api_key": key,
            "webhook_secret": _kept_webhook_secret(keys, row),
            "from_email": row.from_email,
            "rate_per_second": row.rate_per_second,
        }
    )
    return await byok.write(session, keys, project, Wanted("resend", fields))


def _kept_webhook_secret(keys: Keys, row: Connection) -> str | None:
    """A new key of the same account keeps its webhook; one that cannot be read is set anew by hand."""
    if row.sealed is None:
        return None
    try:
        kept: dict[str, str] = orjson.loads(
            keys.ring.unseal(row.sealed, connections.seal_name(row.id))
        )
    except Unsealable:
        return None
    return kept.get("webhookSecret")


async def _named(session: Session, project: Project, path: str, provider: str | None) -> int | None:
    """The id of the project's own connection of this name."""
    if provider is None:
        return None
    own = await byok.own_connections(session, project.id)
    for row in own:
        if row.provider == provider:
            return row.id
    there = ", ".join(row.provider for row in own) or "none"
    raise InvalidPayload.at(
        path, f'"{provider}" is not set up for this project. Set up: {there}.', "not_set_up"
    )


async def _require_consistent(session: Session, project: Project) -> None:
    """Health data never leaves the accounts that may carry it, whichever way the choice was made."""
    await session.flush()
    sending = await _own(session, project.mail_connection_id)
    failover = await _own(session, project.failover_connection_id)
    if project.phi and sending is None:
        raise InvalidPayload.at(
            "phi",
            "A project that carries health data needs a provider connection of its own.",
            "health_data_not_allowed",
        )
    for row in (sending, failover):
        if row is not None:
            byok.require_may_carry(project, row)
    if sending and failover and sending.phi_allowed and not failover.phi_allowed:
        raise InvalidPayload.at(
            "failoverProvider",
            "An account that may carry health data cannot fail over to one that may not.",
            "health_data_not_allowed",
        )
    if failover is not None and failover is sending:
        raise InvalidPayload.at(
            "failoverProvider", "The failover must be another connection than the one that sends."
        )


async def _own(session: Session, connection_id: int | None) -> Connection | None:
    return None if connection_id is None else await session.get(Connection, connection_id)
