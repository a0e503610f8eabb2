"""Settings: another provider sends, a key is replaced, members come and go."""

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Open, Site
from tests.factories import make_account, make_connection

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


async def test_another_provider_sends_after_a_switch(site: Site, open_tab: Open) -> None:
    project = await site.project()
    await make_connection(site.resources, project.id, "resend")
    tab = await open_tab(project.owner)
    page = tab.page
    await tab.go(project, "settings/providers")
    resend = page.get_by_test_id("provider-resend")
    await expect(resend.get_by_text("Ready")).to_be_visible()
    await resend.get_by_role("button", name="Send by Resend").click()
    dialog = page.get_by_role("dialog", name="Send by Resend")
    await expect(dialog).to_contain_text("Mails already accepted finish with Sandbox")
    await dialog.get_by_role("button", name="Send by Resend").click()
    await expect(resend.get_by_text("Sending")).to_be_visible()
    await expect(page.get_by_test_id("provider-sandbox").get_by_text("Ready")).to_be_visible()


async def test_a_move_is_rehearsed_made_and_taken_back(site: Site, open_tab: Open) -> None:
    project = await site.project()
    await make_connection(site.resources, project.id, "resend")
    tab = await open_tab(project.owner)
    page = tab.page
    await page.context.request.post(
        f"{site.url}/api/mail/send",
        headers=project.key,
        data={"to": "ann@example.com", "subject": "Hello", "text": "Hi"},
    )
    await tab.go(project, "settings/providers")
    await page.get_by_test_id("provider-resend").get_by_role("link", name="Rehearse").click()
    report = page.get_by_test_id("rehearsal")
    await expect(report).to_contain_text("1 recent mails against Resend: 1 fit, 0 refused.")
    await report.get_by_role("button", name="Send by Resend").click()
    await expect(report).to_contain_text("New mails go through Resend.")
    await report.get_by_role("button", name="Switch back").click()
    await expect(report.get_by_role("button", name="Send by Resend")).to_be_visible()


async def test_a_key_is_replaced_only_with_the_name_typed(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    await tab.go(project, "settings/keys")
    await page.get_by_role("button", name="Replace the secret key").click()
    dialog = page.get_by_role("dialog", name="Replace the secret key")
    action = dialog.get_by_role("button", name="Replace the key")
    await expect(action).to_be_disabled()
    label = await dialog.locator("label").inner_text()
    name = label.removeprefix("Type ").removesuffix(" to confirm")
    await dialog.get_by_role("textbox").fill(name)
    await action.click()
    await expect(page.get_by_text("The new key, shown this once")).to_be_visible()
    new = await page.locator("code").filter(has_text="sk_live_").first.inner_text()
    ask = page.context.request
    old = await ask.get(f"{site.url}/api/mail/logs", headers=project.key)
    assert old.status == 401
    fresh = await ask.get(f"{site.url}/api/mail/logs", headers={"x-api-key": new})
    assert fresh.status == 200


async def test_a_member_is_added_and_the_last_owner_stays(site: Site, open_tab: Open) -> None:
    project = await site.project()
    friend = await make_account(site.resources)
    tab = await open_tab(project.owner)
    page = tab.page
    await tab.go(project, "settings/members")
    await expect(page.get_by_text("the last owner stays")).to_be_visible()
    await page.get_by_label("Email").fill(friend.email)
    await page.get_by_role("button", name="Add the member").click()
    row = page.get_by_role("row").filter(has_text=friend.email)
    await expect(row).to_be_visible()
    await row.get_by_role("button", name="Remove").click()
    await page.get_by_role("button", name="Remove from the project").click()
    await expect(row).to_have_count(0)


async def test_the_keyboard_alone_leads_everywhere(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    await tab.go(project, "logs")
    await expect(page.get_by_role("heading", name="Delivery Logs")).to_be_visible()
    await page.keyboard.press("g")
    await page.keyboard.press("o")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await page.keyboard.press("Control+k")
    await page.get_by_role("textbox", name="Search or jump").fill("keys")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Secret key")).to_be_visible()
