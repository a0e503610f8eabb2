"""A real browser on the real app, with the real worker's loops and the sandbox behind it."""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from postroom.app import create_app
from postroom.dashboard.pages import STATIC
from postroom.resources import Resources
from postroom.worker import PostOffice
from tests.factories import MadeAccount, MadeProject, make_project

AXE = Path(__file__).parents[2] / "dashboard/node_modules/axe-core/axe.min.js"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _missing(what: str) -> None:
    """Somebody's own machine may lack a browser; the machine that says whether all is well may not."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def _browser_path() -> str:
    named = os.environ.get("POSTROOM_BROWSER")
    found = named or next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        _missing("No browser here: install Chromium, or name one in POSTROOM_BROWSER.")
    return str(found)


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    if not (STATIC / "index.html").is_file():
        _missing("The dashboard is not built here: run `make dashboard`.")


@dataclass
class Site:
    """A running Postroom and who looks at it."""

    url: str
    resources: Resources
    browser: Browser

    async def project(self, **columns: Any) -> MadeProject:
        columns.setdefault("provider", "sandbox")
        return await make_project(self.resources, **columns)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = _browser_path()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def site(resources: Resources, browser: Browser) -> AsyncIterator[Site]:
    office = PostOffice(resources)
    await office.open()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(resources), log_level="error", ws="none")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Site(url, resources, browser)
        server.should_exit = True
        await serving
    await office.close()


@dataclass
class Tab:
    """A page of the browser, and what went wrong on it."""

    page: Page
    site: Site
    complaints: list[str]

    async def go(self, project: MadeProject, place: str) -> None:
        await self.page.goto(f"{self.site.url}/project/{project.id}/mail/{place}")

    async def axe(self) -> list[str]:
        """Serious findings of axe, as rule and place."""
        if not AXE.is_file():
            _missing("axe-core is not installed: run `python dashboard/build.py --check`.")
        await self.page.evaluate(AXE.read_text())
        found = await self.page.evaluate(
            "() => axe.run(document, {resultTypes: ['violations'],"
            " runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],"
            " iframes: false})"
        )
        return [
            f"{v['id']}: {v['nodes'][0]['target']} {v['nodes'][0]['html'][:160]}"
            for v in found["violations"]
            if v["impact"] in {"serious", "critical"}
        ]


Open = Callable[..., Awaitable[Tab]]


@pytest.fixture
async def open_tab(site: Site) -> AsyncIterator[Open]:
    """Opens pages as somebody; at the end none may have complained or asked anybody else."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    async def open_as(
        who: MadeAccount | None = None, *, width: int = 1280, theme: str = "light"
    ) -> Tab:
        context = await site.browser.new_context(
            viewport={"width": width, "height": 860},
            color_scheme="dark" if theme == "dark" else "light",
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        if who is not None:
            token = json.dumps(who.token)
            await context.add_init_script(
                f"if (window.top === window) localStorage.setItem('postroom-token', {token})"
            )
        page = await context.new_page()
        _listen(page, site.url, complaints)
        return Tab(page, site, complaints)

    yield open_as
    for context in contexts:
        await context.close()
    assert complaints == []


def _listen(page: Page, url: str, complaints: list[str]) -> None:
    """Note errors of the console and of scripts, and requests that leave the house."""

    def on_console(message: Any) -> None:
        # A refused request is told by the page itself; a blocked image of a mail is what we want.
        blocked = ("status of 4", "Content Security Policy", "frame attempting navigation")
        expected = any(words in message.text for words in blocked)
        in_frame = "/mail-view" in str(message.location.get("url", ""))
        if message.type == "error" and not expected and not in_frame:
            complaints.append(message.text)

    def on_finished(request: Any) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            complaints.append(f"asked {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfinished", on_finished)
