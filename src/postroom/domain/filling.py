"""The texts of a mail: a template's, the request's own before them, filled with the request's variables."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from postroom.domain import templates
from postroom.domain.rendering import Renderer, Texts
from postroom.errors import InvalidPayload
from postroom.models import MailTemplate
from postroom.resources import Sessions


@dataclass(frozen=True, slots=True)
class Wish:
    """What a mail shall be made of: a template, direct texts that go before its own, and variables."""

    direct: Texts
    template_id: str | None = None
    template_name: str | None = None
    variables: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """The finished texts, and the template as the answer and the log name it."""

    texts: Texts
    used: dict[str, Any] | None


class Filler:
    """Finds templates and fills them, in one process."""

    def __init__(self, sessions: Sessions, renderer: Renderer) -> None:
        self._sessions = sessions
        self.renderer = renderer

    async def fill(self, project_id: UUID, wish: Wish) -> Filled:
        """The texts of a mail. Direct ones are rendered only when there are variables.

        Raises InvalidPayload: no such template, or a part that cannot be rendered.
        """
        if wish.template_id and wish.template_name:
            raise InvalidPayload.at(
                "templateName", "Provide only one of templateId or templateName."
            )
        template = await self._find(project_id, wish)
        direct = {name: part for name, part in wish.direct.parts().items() if part.strip()}
        if wish.variables is None:
            kept, to_render = direct, _texts_of(template, but=direct)
        else:
            kept, to_render = {}, _texts_of(template, but=direct) | direct
        rendered = await self.renderer.render(project_id, Texts(**to_render), wish.variables or {})
        return Filled(Texts(**kept, **rendered.texts.parts()), _used(template))

    async def _find(self, project_id: UUID, wish: Wish) -> MailTemplate | None:
        if not wish.template_id and not wish.template_name:
            return None
        async with self._sessions() as session:
            if wish.template_id:
                found = await templates.by_id(session, project_id, wish.template_id.lower())
            else:
                found = await templates.by_name(session, project_id, wish.template_name or "")
        if found is None:
            field = "templateId" if wish.template_id else "templateName"
            raise InvalidPayload.at(field, templates.NOT_FOUND, code="template_not_found")
        return found


def _texts_of(template: MailTemplate | None, but: Collection[str]) -> dict[str, str]:
    """The template's parts, without those that the request brings itself."""
    if template is None:
        return {}
    parts = Texts(template.subject, template.html, template.text).parts()
    return {name: part for name, part in parts.items() if name not in but}


def _used(template: MailTemplate | None) -> dict[str, Any] | None:
    if template is None:
        return None
    return {
        "id": template.id,
        "scope": templates.scope_of(template),
        "key": template.key,
        "name": template.name,
    }
