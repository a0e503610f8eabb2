"""Templates become texts, one slice of work at a time, so that no tenant's template delays anybody's request.

Each slice is bounded by the budgets of `handlebars.limits`. A project has one slice in the line at most, and
after some milliseconds of rendering the loop gets as many for everything else.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from postroom.domain.handlebars import (
    Budget,
    OverBudget,
    Template,
    TemplateError,
    compile_template,
    plain_variables,
)
from postroom.errors import InvalidPayload, Issue
from postroom.lines import on_one_line

T = TypeVar("T")

MAX_SUBJECT = 998
FIELDS = ("subject", "html", "text")
_REST_AFTER = 0.004  # seconds of rendering
_KEPT_WEIGHT = 16_000_000  # bytes of compiled templates, roughly


@dataclass(frozen=True, slots=True)
class Texts:
    """The parts of a mail that can be rendered."""

    subject: str | None = None
    html: str | None = None
    text: str | None = None

    def parts(self) -> dict[str, str]:
        """The parts that there are, by field."""
        found = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Rendered:
    texts: Texts
    missing: tuple[str, ...]  # variables that were asked for and not there


class Renderer:
    """What rendering shares in one process: the line, and the templates compiled lately."""

    def __init__(self) -> None:
        self._line = asyncio.Lock()
        self._of_project: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._busy = 0.0
        self._kept: OrderedDict[tuple[str, bool], Template] = OrderedDict()
        self._kept_weight = 0

    async def render(
        self, project_id: UUID, texts: Texts, variables: Mapping[str, Any]
    ) -> Rendered:
        """Render the parts with the variables. Raises InvalidPayload with an issue for each bad part."""
        templates = await self._compile(project_id, texts)
        budget = Budget()
        rendered: dict[str, str] = {}
        try:
            plain = await self._slice(project_id, lambda: plain_variables(variables))
        except OverBudget as error:
            raise _over_budget("variables", error) from None
        for field, template in templates.items():
            rendered[field] = await self._one(project_id, field, template, (plain, budget))
        if "subject" in rendered:
            rendered["subject"] = one_line(rendered["subject"])
        return Rendered(Texts(**rendered), tuple(budget.missing))

    async def check(self, project_id: UUID, texts: Texts) -> None:
        """Refuse texts that are no templates. Raises InvalidPayload."""
        await self._compile(project_id, texts)

    async def _compile(self, project_id: UUID, texts: Texts) -> dict[str, Template]:
        templates: dict[str, Template] = {}
        issues: list[Issue] = []
        for field, source in texts.parts().items():
            try:
                templates[field] = await self._compiled(project_id, source, field == "html")
            except TemplateError as error:
                issues.append(_issue(field, error))
        if issues:
            raise InvalidPayload(issues[0].message, code="invalid_template", issues=issues)
        return templates

    async def _compiled(self, project_id: UUID, source: str, escape: bool) -> Template:
        key = (source, escape)
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        template = await self._slice(project_id, lambda: compile_template(source, escape=escape))
        self._keep(key, template)
        return template

    def _keep(self, key: tuple[str, bool], template: Template) -> None:
        if key in self._kept:
            return
        self._kept[key] = template
        self._kept_weight += template.weight
        while self._kept_weight > _KEPT_WEIGHT:
            _, oldest = self._kept.popitem(last=False)
            self._kept_weight -= oldest.weight

    async def _one(
        self,
        project_id: UUID,
        field: str,
        template: Template,
        given: tuple[Mapping[str, Any], Budget],
    ) -> str:
        try:
            return await self._slice(project_id, lambda: template.render(*given))
        except OverBudget as error:
            raise _over_budget(field, error) from None

    async def _slice(self, project_id: UUID, work: Callable[[], T]) -> T:
        """Do one bounded piece of work when it is this project's turn, then let others run."""
        of_project = self._of_project.setdefault(project_id, asyncio.Lock())
        async with of_project, self._line:
            started = perf_counter()
            try:
                return work()
            finally:
                self._busy += perf_counter() - started
                if self._busy > _REST_AFTER:
                    rest, self._busy = self._busy, 0.0
                    await asyncio.sleep(rest)


def _issue(field: str, error: TemplateError) -> Issue:
    place = f"Line {error.line}, column {error.column} of {field}: "
    return Issue(field, place + error.message, error.line, error.column)


def _over_budget(field: str, error: OverBudget) -> InvalidPayload:
    return InvalidPayload.at(field, error.message, code="template_over_budget")


def one_line(subject: str) -> str:
    """A rendered subject as a header can carry it. Raises InvalidPayload."""
    line = on_one_line(subject)
    if len(line) > MAX_SUBJECT:
        raise InvalidPayload.at(
            "subject", f'"subject" must have at most {MAX_SUBJECT} characters once it is rendered.'
        )
    return line
