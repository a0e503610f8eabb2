"""Templates: a project's own and the global ones; found by id, key or name, a project's own first."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import exists, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from postroom.domain import audit
from postroom.domain.rendering import MAX_SUBJECT, Renderer, Texts
from postroom.errors import Conflict, InvalidPayload, NotFound
from postroom.models import MailTemplate
from postroom.resources import Session

NOT_FOUND = "Template not found."
TAKEN = "Template name/key already exists."
MAX_NAME = 100
MOST = 1_000  # templates of one project
_ID = re.compile(r"[0-9a-f]{24}")
_NOT_IN_KEY = re.compile(r"[^a-z0-9_-]+")
_DASHES = re.compile(r"-{2,}")


@dataclass(frozen=True, slots=True)
class TemplateView:
    """A template as it is shown in lists; `shadows`: a global one of its name is hidden by it."""

    id: str
    key: str
    name: str
    subject: str
    scope: str
    updated_at: datetime
    shadows: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A template as somebody wants it to be."""

    name: str
    subject: str
    html: str | None
    text: str | None
    key: str | None = None

    @property
    def texts(self) -> Texts:
        return Texts(self.subject, self.html, self.text)


def slug(text: str) -> str:
    """A name as a key: small letters, digits, dashes and underscores."""
    return _DASHES.sub("-", _NOT_IN_KEY.sub("-", text.strip().lower())).strip("-")


def scope_of(template: MailTemplate) -> str:
    return "global" if template.project_id is None else "project"


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


async def list_own(session: Session, project_id: UUID) -> list[TemplateView]:
    """A project's own templates, the one changed last first."""
    hidden = aliased(MailTemplate)
    shadows = exists().where(
        hidden.project_id.is_(None),
        or_(hidden.key == MailTemplate.key, hidden.name_key == MailTemplate.name_key),
    )
    rows = await session.execute(
        select(*_LISTED, shadows.label("shadows"))
        .where(MailTemplate.project_id == project_id)
        .order_by(MailTemplate.updated_at.desc(), MailTemplate.id.desc())
    )
    return [TemplateView(r.id, r.key, r.name, r.subject, "project", r[4], r.shadows) for r in rows]


async def list_global(session: Session) -> list[TemplateView]:
    """The templates that every project has, by key."""
    rows = await session.execute(
        select(*_LISTED).where(MailTemplate.project_id.is_(None)).order_by(MailTemplate.key)
    )
    return [TemplateView(r.id, r.key, r.name, r.subject, "global", r[4]) for r in rows]


_LISTED = (
    MailTemplate.id,
    MailTemplate.key,
    MailTemplate.name,
    MailTemplate.subject,
    MailTemplate.updated_at,
)


async def get(session: Session, project_id: UUID, template_id: str) -> MailTemplate:
    """A template that this project can use, by its id. Raises InvalidPayload or NotFound."""
    if not _ID.fullmatch(template_id.lower()):
        raise InvalidPayload("Invalid template id.", code="invalid_id")
    found = await by_id(session, project_id, template_id.lower())
    if found is None:
        raise NotFound(NOT_FOUND, code="template_not_found")
    return found


async def by_id(session: Session, project_id: UUID, template_id: str) -> MailTemplate | None:
    """The project's own or a global one."""
    found = await session.scalars(
        select(MailTemplate).where(
            MailTemplate.id == template_id,
            or_(MailTemplate.project_id == project_id, MailTemplate.project_id.is_(None)),
        )
    )
    return found.one_or_none()


async def by_name(session: Session, project_id: UUID, name: str) -> MailTemplate | None:
    """By key or name: the project's own before a global one, a key before a name."""
    wanted = name.strip().lower()
    found = await session.scalars(
        select(MailTemplate)
        .where(
            or_(MailTemplate.project_id == project_id, MailTemplate.project_id.is_(None)),
            or_(MailTemplate.key == wanted, MailTemplate.name_key == wanted),
        )
        .order_by(MailTemplate.project_id.is_(None), MailTemplate.key != wanted)
        .limit(1)
    )
    return found.one_or_none()


# ── Changing ─────────────────────────────────────────────────────────────────────────────────────


async def create(
    session: Session, renderer: Renderer, who: audit.Who, draft: Draft
) -> MailTemplate:
    """Keep a new template. Raises InvalidPayload for what is none, Conflict for a taken name or key."""
    await renderer.check(who.project_id, _checked(draft).texts)
    template = MailTemplate(
        id=secrets.token_hex(12),
        project_id=who.project_id,
        key=_key(draft),
        name=draft.name,
        name_key=draft.name.lower(),
        subject=draft.subject,
        html=draft.html,
        text=draft.text,
    )
    await _refuse_too_many(session, who.project_id)
    session.add(template)
    audit.note(session, who, "template.created", template.id)
    await _commit(session)
    await session.refresh(template)
    return template


def _checked(draft: Draft) -> Draft:
    if not 1 <= len(draft.name.strip()) <= MAX_NAME:
        raise InvalidPayload.at("name", f'"name" must have 1 to {MAX_NAME} characters.')
    if not 1 <= len(draft.subject.strip()) <= MAX_SUBJECT:
        raise InvalidPayload.at("subject", f'"subject" must have 1 to {MAX_SUBJECT} characters.')
    if draft.html is None and draft.text is None:
        raise InvalidPayload.at("html", "Provide at least one of html or text.")
    return draft


def _key(draft: Draft) -> str:
    key = slug(draft.key or "") or slug(draft.name)
    if not key:
        raise InvalidPayload.at("key", "A key needs at least one letter or digit (a-z, 0-9).")
    return key


async def _refuse_too_many(session: Session, project_id: UUID) -> None:
    count = await session.scalar(select(func.count()).where(MailTemplate.project_id == project_id))
    if (count or 0) >= MOST:
        raise Conflict(f"A project has at most {MOST:,} templates.", code="too_many_templates")


async def _commit(session: Session) -> None:
    try:
        # From here mails may be made of it.
        await session.commit()
    except IntegrityError:
        await session.rollback()
        raise Conflict(TAKEN, code="template_exists") from None


async def _own(session: Session, project_id: UUID, template_id: str) -> MailTemplate:
    """The project's own template: a global one cannot be changed."""
    template = await get(session, project_id, template_id)
    if template.project_id != project_id:
        raise NotFound(NOT_FOUND, code="template_not_found")
    return template


async def change(
    session: Session,
    renderer: Renderer,
    who: audit.Who,
    template_id: str,
    changes: Mapping[str, Any],
) -> MailTemplate:
    """Change the named fields of a project's own template."""
    template = await _own(session, who.project_id, template_id)
    before = Draft(template.name, template.subject, template.html, template.text, template.key)
    draft = replace(before, **changes)
    if draft.html is None and draft.text is None:
        raise InvalidPayload.at("html", "Template must contain at least one of html or text.")
    await renderer.check(who.project_id, draft.texts)
    template.key, template.name, template.name_key = _key(draft), draft.name, draft.name.lower()
    template.subject, template.html, template.text = draft.subject, draft.html, draft.text
    template.updated_at = cast(datetime, func.now())
    audit.note(session, who, "template.changed", template.id)
    await _commit(session)
    await session.refresh(template)
    return template


async def delete(session: Session, who: audit.Who, template_id: str) -> None:
    """Remove a project's own template; mails that were accepted with it are not touched."""
    template = await _own(session, who.project_id, template_id)
    await session.delete(template)
    audit.note(session, who, "template.deleted", template.id)
    # From here a global one of its name is in force again.
    await session.commit()


async def keep_each(
    session: Session, renderer: Renderer, who: audit.Who, drafts: Sequence[Draft]
) -> list[tuple[Draft, str | None]]:
    """Keep several templates, each for itself; with each the sentence that says why it was not kept."""
    results: list[tuple[Draft, str | None]] = []
    for draft in drafts:
        try:
            await create(session, renderer, who, draft)
            results.append((draft, None))
        except (InvalidPayload, Conflict) as refused:
            results.append((draft, refused.message))
    return results
