"""Audiences, contacts and broadcasts as every keeper of them offers them: a vendor, or we ourselves.

Answers are JSON objects of one shape: lists are `{object: "list", has_more, data}`, names in snake_case.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PageAsked:
    """One page of a list: at most `limit` things that come after the thing with the id `after`."""

    limit: int | None = None
    after: str | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class NewContact:
    email: str
    first_name: str | None = None
    last_name: str | None = None
    unsubscribed: bool | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A broadcast as it was written."""

    audience_id: str
    subject: str
    html: str
    text: str | None = None
    name: str | None = None
    sender: str | None = None
    reply_to: tuple[str, ...] = ()
    scheduled_at: datetime | None = None


class Audiences(ABC):
    """Who keeps audiences and their contacts."""

    @abstractmethod
    async def list_audiences(self, page: PageAsked) -> Json: ...

    @abstractmethod
    async def create_audience(self, name: str) -> Json: ...

    @abstractmethod
    async def get_audience(self, audience_id: str) -> Json: ...

    @abstractmethod
    async def delete_audience(self, audience_id: str) -> Json: ...

    @abstractmethod
    async def list_contacts(self, audience_id: str, page: PageAsked) -> Json: ...

    @abstractmethod
    async def create_contact(self, audience_id: str, contact: NewContact) -> Json: ...

    @abstractmethod
    async def get_contact(self, audience_id: str, contact_id: str) -> Json: ...

    @abstractmethod
    async def update_contact(
        self, audience_id: str, contact_id: str, changes: Mapping[str, Any]
    ) -> Json:
        """Set what `changes` names: first_name, last_name, unsubscribed, properties."""

    @abstractmethod
    async def delete_contact(self, audience_id: str, contact_id: str) -> Json: ...


class Broadcasts(ABC):
    """Who keeps and sends broadcasts."""

    @abstractmethod
    async def list_broadcasts(self, page: PageAsked) -> Json: ...

    @abstractmethod
    async def create(self, draft: Draft) -> Json: ...

    @abstractmethod
    async def get(self, broadcast_id: str) -> Json: ...

    @abstractmethod
    async def update(self, broadcast_id: str, changes: Mapping[str, Any]) -> Json:
        """Change a draft; `changes` names fields of `Draft`."""

    @abstractmethod
    async def send(self, broadcast_id: str, scheduled_at: datetime | None) -> Json: ...

    @abstractmethod
    async def cancel(self, broadcast_id: str) -> Json: ...

    @abstractmethod
    async def delete(self, broadcast_id: str) -> Json: ...
