"""Coming in: sign-in, the first project with its keys, and who may not."""

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Open, Site
from tests.factories import make_account, make_member

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]
PASSWORD = "a-long-enough-password"


async def test_somebody_signs_in_makes_a_project_and_sees_its_keys_once(
    site: Site, open_tab: Open
) -> None:
    person = await make_account(site.resources, password=PASSWORD)
    tab = await open_tab()
    page = tab.page
    await page.goto(site.url)
    await page.get_by_label("Email").fill(person.email)
    await page.get_by_role("textbox", name="Password").fill("wrong-password-1")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("Email or password is not right.")

    await page.get_by_role("textbox", name="Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Projects")).to_be_visible()

    await page.get_by_role("button", name="New project").first.click()
    await page.get_by_label("Name").fill("Shop")
    await page.get_by_role("button", name="Make the project").click()
    dialog = page.get_by_role("dialog", name="Keys of Shop")
    await expect(dialog.get_by_text("sk_live_").first).to_be_visible()
    await expect(dialog.get_by_role("button", name="Open the project")).to_be_disabled()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_visible()
    await dialog.get_by_label("I have stored the secret key").check()
    await dialog.get_by_role("button", name="Open the project").click()
    await expect(page.get_by_role("heading", name="Delivery Logs")).to_be_visible()
    await expect(page.get_by_text("No mail yet.")).to_be_visible()


async def test_a_page_asked_for_without_a_session_comes_after_the_sign_in(
    site: Site, open_tab: Open
) -> None:
    person = await make_account(site.resources, password=PASSWORD)
    project = await site.project(owner=person)
    tab = await open_tab()
    await tab.go(project, "settings/keys")
    await tab.page.get_by_label("Email").fill(person.email)
    await tab.page.get_by_role("textbox", name="Password").fill(PASSWORD)
    await tab.page.get_by_role("button", name="Sign in").click()
    await expect(tab.page.get_by_role("heading", name="Secret key")).to_be_visible()


async def test_a_viewer_sees_everything_and_no_action(site: Site, open_tab: Open) -> None:
    project = await site.project()
    viewer = await make_member(site.resources, project, "viewer")
    tab = await open_tab(viewer)
    page = tab.page
    actions = {
        "logs": "Send a test mail",
        "templates": "New template",
        "audiences": "New audience",
        "broadcasts": "New broadcast",
        "settings/keys": "Replace the secret key",
        "settings/providers": "Remove",
        "settings/sending": "Save",
        "settings/suppressions": "Suppress",
    }
    for place, action in actions.items():
        await tab.go(project, place)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect(page.get_by_text("Viewer", exact=True)).to_be_visible()
        await expect(page.get_by_role("button", name=action, exact=True)).to_have_count(0)


async def test_a_project_of_somebody_else_does_not_exist(site: Site, open_tab: Open) -> None:
    stranger = await make_account(site.resources)
    project = await site.project()
    tab = await open_tab(stranger)
    await tab.go(project, "logs")
    await expect(tab.page.get_by_text("does not exist or is not yours")).to_be_visible()
