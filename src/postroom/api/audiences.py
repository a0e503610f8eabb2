"""Audiences and their contacts, at the vendor or with us."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from postroom.api.body import read, takes
from postroom.api.deps import Res
from postroom.api.doors import Shape, both
from postroom.api.envelope import BODY, Success, ok
from postroom.api.shapes import Asked
from postroom.domain import audiences
from postroom.domain.audiences import BAD_ID, NO_AUDIENCES, NO_CONTACTS, check_ids
from postroom.domain.mailboxes import bare
from postroom.domain.projects import Caller
from postroom.errors import InvalidPayload
from postroom.providers.lists import Audiences, NewContact, PageAsked
from postroom.resources import Resources

router = APIRouter(tags=["Audiences and contacts"])

VENDOR = (409, 422, 502, 504)
Name = Annotated[str, Field(max_length=200)]


class PagingQuery(BaseModel):
    """One page of a list."""

    model_config = ConfigDict(extra="forbid")
    limit: Annotated[int | None, Field(ge=1, le=200)] = None
    after: Annotated[
        str | None, Field(max_length=128, description="The id of the last item of the page before.")
    ] = None


class PageQuery(PagingQuery):
    """One page of a list, or of what is found in it."""

    q: Annotated[str | None, Field(max_length=200, description="Words to look for.")] = None

    def page(self) -> PageAsked:
        return PageAsked(self.limit, self.after, self.q)


class AudienceBody(Asked):
    """A new audience."""

    name: Annotated[str, Field(max_length=200)] | None = None


class ContactBody(Asked):
    """A new contact; one that is known is updated, and never subscribed again."""

    email: Annotated[str, Field(max_length=320)] | None = None
    first_name: Name | None = None
    last_name: Name | None = None
    unsubscribed: bool | None = None
    properties: dict[str, Any] | None = None


class ContactChanges(Asked):
    """What shall be different about a contact."""

    first_name: Name | None = None
    last_name: Name | None = None
    unsubscribed: bool | None = None
    properties: dict[str, Any] | None = None


class Told(BaseModel):
    """A thing in the words of Resend's API; a vendor may say more."""

    model_config = ConfigDict(extra="allow")
    object: str | None = None
    id: str | None = None


class AudienceOut(Told):
    name: str | None = None
    created_at: datetime | None = None
    contacts: int | None = None
    subscribed: int | None = None


class ContactOut(Told):
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    created_at: datetime | None = None
    unsubscribed: bool | None = None
    properties: dict[str, Any] | None = None


class DeletedOut(Told):
    deleted: bool = True


class AudienceList(BaseModel):
    object: str = "list"
    has_more: bool = False
    data: list[AudienceOut]


class ContactList(BaseModel):
    object: str = "list"
    has_more: bool = False
    data: list[ContactOut]


_AUDIENCE: TypeAdapter[AudienceBody] = TypeAdapter(AudienceBody)
_CONTACT: TypeAdapter[ContactBody] = TypeAdapter(ContactBody)
_CHANGES: TypeAdapter[ContactChanges] = TypeAdapter(ContactChanges)

AudienceId = Annotated[str, Path(alias="audienceId")]
ContactId = Annotated[str, Path(alias="contactId")]
Page = Annotated[PageQuery, Query()]
Paging = Annotated[PagingQuery, Query()]


async def _audiences(request: Request, resources: Resources, caller: Caller) -> Audiences:
    info = audiences.own_connection(caller, NO_AUDIENCES)
    return await audiences.audiences(resources, request.app.state.connections, caller, info)


async def _contacts(request: Request, resources: Resources, caller: Caller) -> Audiences:
    """Who keeps the contacts; leave to ask a vendor is taken last, for a request that is known to be sound."""
    info = audiences.own_connection(caller, NO_CONTACTS)
    return await audiences.audiences(resources, request.app.state.connections, caller, info)


# ── Audiences ────────────────────────────────────────────────────────────────────────────────────


@both(
    router,
    "GET",
    "/audiences",
    Shape("List audiences", Success[AudienceList], (400, *VENDOR)),
)
async def list_audiences(request: Request, resources: Res, caller: Caller, asked: Page) -> Response:
    """Newest first, where we keep them."""
    keeper = await _audiences(request, resources, caller)
    return ok(await keeper.list_audiences(asked.page()), "Audiences retrieved successfully.")


@both(
    router,
    "POST",
    "/audiences",
    Shape("Create an audience", Success[AudienceOut], (*BODY, *VENDOR), takes(AudienceBody)),
)
async def create_audience(request: Request, resources: Res, caller: Caller) -> Response:
    """At the vendor where it has audiences, else with us."""
    audiences.own_connection(caller, NO_AUDIENCES)
    body = await read(request, _AUDIENCE)
    if body.name is None or not body.name.strip():
        raise InvalidPayload.at("name", "Audience name is required.")
    keeper = await _audiences(request, resources, caller)
    return ok(await keeper.create_audience(body.name.strip()), "Audience created successfully.")


@both(
    router,
    "GET",
    "/audiences/{audienceId}",
    Shape("One audience", Success[AudienceOut], (400, 404, *VENDOR)),
)
async def get_audience(
    request: Request, resources: Res, caller: Caller, audience: AudienceId
) -> Response:
    """With the number of its contacts, where we keep them."""
    check_ids(BAD_ID, audience)
    keeper = await _audiences(request, resources, caller)
    return ok(await keeper.get_audience(audience), "Audience retrieved successfully.")


@both(
    router,
    "DELETE",
    "/audiences/{audienceId}",
    Shape("Delete an audience", Success[DeletedOut], (400, 404, *VENDOR)),
)
async def delete_audience(
    request: Request, resources: Res, caller: Caller, audience: AudienceId
) -> Response:
    """Its contacts go with it, where we keep them."""
    check_ids(BAD_ID, audience)
    keeper = await _audiences(request, resources, caller)
    return ok(await keeper.delete_audience(audience), "Audience deleted successfully.")


# ── Contacts ─────────────────────────────────────────────────────────────────────────────────────


@both(
    router,
    "GET",
    "/audiences/{audienceId}/contacts",
    Shape("List contacts", Success[ContactList], (400, 404, *VENDOR)),
)
async def list_contacts(
    request: Request, resources: Res, caller: Caller, audience: AudienceId, asked: Page
) -> Response:
    """Newest first, where we keep them; `q` looks into addresses and names."""
    check_ids(BAD_ID, audience)
    keeper = await _contacts(request, resources, caller)
    return ok(
        await keeper.list_contacts(audience, asked.page()), "Contacts retrieved successfully."
    )


@both(
    router,
    "POST",
    "/audiences/{audienceId}/contacts",
    Shape("Add a contact", Success[ContactOut], (*BODY, 404, *VENDOR), takes(ContactBody)),
)
async def create_contact(
    request: Request, resources: Res, caller: Caller, audience: AudienceId
) -> Response:
    """An address is in an audience once."""
    check_ids(BAD_ID, audience)
    audiences.own_connection(caller, NO_CONTACTS)
    contact = _new_contact(await read(request, _CONTACT))
    keeper = await _contacts(request, resources, caller)
    return ok(await keeper.create_contact(audience, contact), "Contact added successfully.")


@both(
    router,
    "GET",
    "/audiences/{audienceId}/contacts/{contactId}",
    Shape("One contact", Success[ContactOut], (400, 404, *VENDOR)),
)
async def get_contact(
    request: Request, resources: Res, caller: Caller, audience: AudienceId, contact: ContactId
) -> Response:
    """With its properties."""
    check_ids(BAD_ID, audience, contact)
    keeper = await _contacts(request, resources, caller)
    return ok(await keeper.get_contact(audience, contact), "Contact retrieved successfully.")


@both(
    router,
    "PATCH",
    "/audiences/{audienceId}/contacts/{contactId}",
    Shape("Change a contact", Success[ContactOut], (*BODY, 404, *VENDOR), takes(ContactChanges)),
)
async def update_contact(
    request: Request, resources: Res, caller: Caller, audience: AudienceId, contact: ContactId
) -> Response:
    """Only what is named changes; `unsubscribed: false` subscribes again, because somebody says so."""
    check_ids(BAD_ID, audience, contact)
    audiences.own_connection(caller, NO_CONTACTS)
    body = await read(request, _CHANGES)
    keeper = await _contacts(request, resources, caller)
    changed = await keeper.update_contact(audience, contact, _changes(body))
    return ok(changed, "Contact updated successfully.")


@both(
    router,
    "DELETE",
    "/audiences/{audienceId}/contacts/{contactId}",
    Shape("Remove a contact", Success[DeletedOut], (400, 404, *VENDOR)),
)
async def delete_contact(
    request: Request, resources: Res, caller: Caller, audience: AudienceId, contact: ContactId
) -> Response:
    """Mails to it that were not handed over yet are taken back."""
    check_ids(BAD_ID, audience, contact)
    keeper = await _contacts(request, resources, caller)
    return ok(await keeper.delete_contact(audience, contact), "Contact removed successfully.")


def _new_contact(body: ContactBody) -> NewContact:
    if body.email is None or not body.email.strip():
        raise InvalidPayload.at("email", "Contact email is required.")
    try:
        address = bare(body.email.strip())
    except ValueError:
        raise InvalidPayload.at("email", "Invalid contact email format.") from None
    return NewContact(
        address, body.first_name, body.last_name, body.unsubscribed, body.properties or {}
    )


def _changes(body: ContactChanges) -> Mapping[str, Any]:
    named = body.model_dump(include=body.model_fields_set)
    return {k: v for k, v in named.items() if v is not None or k in {"first_name", "last_name"}}
