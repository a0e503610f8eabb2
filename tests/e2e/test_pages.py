"""Every page in both themes and at both widths: nothing serious for axe, no sideways scrolling, no complaint."""

import itertools
import os

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Open, Site, Tab
from tests.factories import MadeProject

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

PLACES = (
    "overview",
    "logs",
    "logs?send=1",
    "logs?mail={mail}",
    "templates",
    "templates/new",
    "audiences/{audience}",
    "audiences/{audience}/imports/{import}",
    "broadcasts",
    "broadcasts/{broadcast}",
    "broadcasts/{draft}/edit",
    "broadcasts/{draft}/edit?step=content",
    "broadcasts/{draft}/edit?step=review",
    "settings/providers",
    "settings/providers/resend",
    "settings/providers/sandbox/rehearsal",
    "settings/sending",
    "settings/keys",
    "settings/members",
    "settings/suppressions",
    "settings/retention",
    "settings/danger",
)


async def _furnish(tab: Tab, project: MadeProject) -> dict[str, str]:
    """Something to see on every page."""
    ask, base = tab.page.context.request, f"{tab.site.url}/api/mail"

    async def post(path: str, data: object, kind: str = "application/json") -> dict[str, str]:
        answer = await ask.post(
            base + path, data=data, headers=project.key | {"content-type": kind}
        )
        assert answer.ok, await answer.text()
        return dict((await answer.json())["data"])

    mail = await post("/send", {"to": "ann@example.com", "subject": "Hello", "html": "<b>Hi</b>"})
    for who in ("bounced", "complained", "failed"):
        await post("/send", {"to": f"{who}@example.com", "subject": who, "text": "Hi"})
    audience = (await post("/audiences", {"name": "Readers"}))["id"]
    rows = "email,first_name\nann@example.com,Ann\nbroken,\n"
    job = await post(f"/audiences/{audience}/contacts/import", rows, "text/csv")
    words = {"audienceId": audience, "subject": "News", "html": "<p>Hi</p>"}
    draft, sent = await post("/broadcasts", words), await post("/broadcasts", words)
    await post(f"/broadcasts/{sent['id']}/send", {})
    await post("/suppressions", {"address": "gone@example.com"})
    return {
        "mail": mail["id"],
        "audience": audience,
        "import": job["id"],
        "broadcast": sent["id"],
        "draft": draft["id"],
    }


# Both themes and both widths; with E2E_FULL=1 each theme at each width.
LOOKS = (
    list(itertools.product(["light", "dark"], [1280, 400]))
    if os.environ.get("E2E_FULL")
    else [("light", 1280), ("dark", 400)]
)


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_every_page_is_sound(site: Site, open_tab: Open, theme: str, width: int) -> None:
    project = await site.project()
    tab = await open_tab(project.owner, theme=theme, width=width)
    page = tab.page
    ids = await _furnish(tab, project)
    wrong: list[str] = []
    for place in PLACES:
        await tab.go(project, place.format(**ids))
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await page.wait_for_load_state("networkidle")
        wrong += [f"{place}: {finding}" for finding in await tab.axe()]
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append(f"{place}: scrolls sideways")
    assert wrong == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_doors_are_sound(site: Site, open_tab: Open, theme: str) -> None:
    project = await site.project()
    tab = await open_tab(theme=theme, width=400)
    wrong: list[str] = []
    for path in ("/", "/register"):
        await tab.page.goto(site.url + path)
        await expect(tab.page.get_by_role("heading", level=1)).to_be_visible()
        wrong += await tab.axe()
    tab = await open_tab(project.owner, theme=theme)
    await tab.page.goto(f"{site.url}/projects")
    await expect(tab.page.get_by_role("heading", level=1)).to_be_visible()
    wrong += await tab.axe()
    assert wrong == []
