"""Resend's audiences (segments today), contacts and broadcasts; https://resend.com/docs/api-reference/segments."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from postroom.errors import Unsupported
from postroom.providers.lists import Audiences, Broadcasts, Draft, Json, NewContact, PageAsked

# method, path, body -> Resend's own JSON; raises what a caller can read
Ask = Callable[[str, str, Mapping[str, Any] | None], Awaitable[Json]]

# What a caller may change, by Resend's name for it.
_BROADCAST_FIELDS = {
    "audience_id": "segment_id",
    "subject": "subject",
    "html": "html",
    "text": "text",
    "name": "name",
    "sender": "from",
    "reply_to": "reply_to",
}


def _id(value: str) -> str:
    return quote(value, safe="")


def _query(page: PageAsked, **more: str) -> str:
    if page.search:
        raise Unsupported("Resend cannot search its lists; leave out q.")
    wanted = {"limit": page.limit, "after": page.after} | more
    given = {name: value for name, value in wanted.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


class ResendAudiences(Audiences):
    """Segments, and the contacts that belong to one."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def list_audiences(self, page: PageAsked) -> Json:
        return await self._ask("GET", f"/segments{_query(page)}", None)

    async def create_audience(self, name: str) -> Json:
        return await self._ask("POST", "/segments", {"name": name})

    async def get_audience(self, audience_id: str) -> Json:
        return await self._ask("GET", f"/segments/{_id(audience_id)}", None)

    async def delete_audience(self, audience_id: str) -> Json:
        return await self._ask("DELETE", f"/segments/{_id(audience_id)}", None)

    async def list_contacts(self, audience_id: str, page: PageAsked) -> Json:
        return await self._ask("GET", f"/contacts{_query(page, segment_id=audience_id)}", None)

    async def create_contact(self, audience_id: str, contact: NewContact) -> Json:
        body = {
            "email": contact.email,
            "first_name": contact.first_name or None,
            "last_name": contact.last_name or None,
            "unsubscribed": contact.unsubscribed,
            "properties": dict(contact.properties) or None,
            "segments": [{"id": audience_id}],
        }
        given = {name: value for name, value in body.items() if value is not None}
        return await self._ask("POST", "/contacts", given)

    async def get_contact(self, audience_id: str, contact_id: str) -> Json:
        return await self._ask("GET", f"/contacts/{_id(contact_id)}", None)

    async def update_contact(
        self, audience_id: str, contact_id: str, changes: Mapping[str, Any]
    ) -> Json:
        return await self._ask("PATCH", f"/contacts/{_id(contact_id)}", changes)

    async def delete_contact(self, audience_id: str, contact_id: str) -> Json:
        return await self._ask("DELETE", f"/contacts/{_id(contact_id)}", None)


class ResendBroadcasts(Broadcasts):
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def list_broadcasts(self, page: PageAsked) -> Json:
        return await self._ask("GET", f"/broadcasts{_query(page)}", None)

    async def create(self, draft: Draft) -> Json:
        fields = {name: getattr(draft, name) for name in _BROADCAST_FIELDS}
        return await self._ask("POST", "/broadcasts", _body(fields))

    async def get(self, broadcast_id: str) -> Json:
        return await self._ask("GET", f"/broadcasts/{_id(broadcast_id)}", None)

    async def update(self, broadcast_id: str, changes: Mapping[str, Any]) -> Json:
        return await self._ask("PATCH", f"/broadcasts/{_id(broadcast_id)}", _body(changes))

    async def send(self, broadcast_id: str, scheduled_at: datetime | None) -> Json:
        when = {"scheduled_at": scheduled_at.isoformat()} if scheduled_at else {}
        return await self._ask("POST", f"/broadcasts/{_id(broadcast_id)}/send", when)

    async def cancel(self, broadcast_id: str) -> Json:
        return await self._ask("POST", f"/broadcasts/{_id(broadcast_id)}/cancel", {})

    async def delete(self, broadcast_id: str) -> Json:
        return await self._ask("DELETE", f"/broadcasts/{_id(broadcast_id)}", None)


def _body(fields: Mapping[str, Any]) -> Json:
    named = {_BROADCAST_FIELDS[name]: fields[name] for name in fields if name in _BROADCAST_FIELDS}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in named.items() if v}
