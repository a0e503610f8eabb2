"""Audiences, an import with refused rows, and a broadcast that is counted, tried, sent and watched."""

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Open, Site, Tab
from tests.factories import MadeProject

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def _file() -> bytes:
    good = [f"person{n}@example.com,First{n},Last{n}" for n in range(992)]
    return "\n".join(["email,first_name,last_name", *good, *["not an address,,"] * 8]).encode()


async def test_a_thousand_contacts_are_imported_and_written_to(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    await _import(tab, project)
    await _unsubscribe_one(tab)
    await _write_to_them(tab, project)


async def _import(tab: Tab, project: MadeProject) -> None:
    page = tab.page
    await tab.go(project, "audiences")
    await page.get_by_role("button", name="New audience").first.click()
    await page.get_by_label("Name").fill("Readers")
    await page.get_by_role("button", name="Make the audience").click()
    await page.get_by_role("button", name="Import a file").click()
    async with page.expect_file_chooser() as chosen:
        await page.get_by_role("button", name="CSV file").click()
    await (await chosen.value).set_files(
        {"name": "readers.csv", "mimeType": "text/csv", "buffer": _file()}
    )
    await expect(page.get_by_text("person0@example.com")).to_be_visible()
    await page.get_by_role("button", name="Import the file").click()
    await expect(page.get_by_test_id("import-created")).to_contain_text("992", timeout=15_000)
    await expect(page.get_by_test_id("import-failed")).to_contain_text("8")
    await expect(page.get_by_role("cell", name="1001")).to_be_visible()


async def _unsubscribe_one(tab: Tab) -> None:
    page = tab.page
    await page.get_by_role("link", name="To the contacts").click()
    rows = page.get_by_test_id("contact-row")
    await expect(rows).to_have_count(50)
    await page.get_by_label("Search contacts").fill("person77@")
    await expect(rows).to_have_count(1)
    switch = page.get_by_role("switch", name="person77@example.com is subscribed")
    await switch.click(force=True)
    await expect(switch).not_to_be_checked()
    await expect(page.get_by_text("992 contacts, 991 subscribed")).to_be_visible()


async def _write_to_them(tab: Tab, project: MadeProject) -> None:
    page = tab.page
    await tab.go(project, "broadcasts/new")
    await page.get_by_role("combobox", name="Audience").click()
    await page.get_by_role("option", name="Readers").click()
    await page.get_by_role("button", name="Next: content").click()
    await page.get_by_label("Subject").fill("News for {{{contact.first_name|you}}}")
    await page.get_by_role("button", name="Next: review").click()
    await expect(page.get_by_test_id("reach")).to_contain_text("1 unsubscribed")
    await expect(page.get_by_test_id("reach")).to_contain_text("991 people")
    await expect(page.get_by_text("News for First").first).to_be_visible()
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.get_by_text("Test accepted")).to_be_visible()
    send = page.get_by_role("button", name="Send to 991 people")
    await expect(send).to_be_disabled()
    await page.get_by_label("Type 991 to confirm").fill("991")
    await send.click()
    await expect(page.get_by_test_id("broadcast-status")).to_have_text("Sent", timeout=30_000)
    await expect(page.get_by_test_id("broadcast-delivered")).to_contain_text("991", timeout=30_000)
    await expect(page.get_by_test_id("broadcast-audience")).to_contain_text("992")


async def test_each_locked_page_says_how_to_open_it(site: Site, open_tab: Open) -> None:
    bare = await site.project(provider=None)
    tab = await open_tab(bare.owner)
    page = tab.page
    await tab.go(bare, "audiences")
    await expect(page.get_by_test_id("locked")).to_contain_text("own provider connection")
    await page.get_by_role("link", name="Set up a provider").click()
    await expect(page.get_by_role("heading", name="Providers & settings")).to_be_visible()
    await tab.go(bare, "broadcasts")
    await expect(page.get_by_test_id("locked")).to_contain_text("own provider connection")

    free = await site.project(plan="free")
    tab = await open_tab(free.owner)
    await tab.go(free, "broadcasts")
    await expect(tab.page.get_by_test_id("locked")).to_contain_text("pro plan")
    await expect(tab.page.get_by_test_id("locked")).to_contain_text("set-plan")
