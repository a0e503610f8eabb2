"""Templates: an error is shown where it is, mended, saved, and the template used."""

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Open, Site

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


async def test_a_template_with_an_error_is_mended_saved_and_used(
    site: Site, open_tab: Open
) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    await tab.go(project, "templates/new")
    await page.get_by_label("Name").fill("Shipping note")
    await page.get_by_label("Subject").fill("On its way, {{name}}")
    await expect(page.get_by_test_id("preview-subject")).to_have_text("On its way, Ada")
    editor = page.get_by_role("textbox", name="HTML of the mail")
    await editor.fill("<p>{{#if tracked}}Follow it</p>")
    await expect(page.get_by_role("alert")).to_contain_text("Line 1")
    await expect(page.locator(".cm-lintRange-error, .cm-lintPoint-error").first).to_be_visible()
    await expect(page.get_by_text("Preview is from before the error.").first).to_be_visible()

    await editor.fill("<p>{{#if tracked}}Follow it{{else}}No number, {{friend}}{{/if}}</p>")
    frame = page.frame_locator("iframe")
    await expect(frame.get_by_text("No number")).to_be_visible()
    await page.get_by_role("button", name="Add to the sample").click()
    await expect(frame.get_by_text("No number, friend")).to_be_visible()
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name="Shipping note")).to_be_visible()

    answer = await page.context.request.post(
        f"{site.url}/api/mail/send",
        headers=project.key,
        data={
            "to": "ann@example.com",
            "templateName": "Shipping note",
            "variables": {"name": "Bo"},
        },
    )
    assert answer.status == 200, await answer.text()
    await tab.go(project, "logs")
    await expect(page.get_by_test_id("log-row")).to_contain_text("On its way, Bo")


async def test_what_was_written_is_not_lost_by_a_click(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    await tab.go(project, "templates/new")
    await page.get_by_label("Name").fill("Half done")
    await page.get_by_role("link", name="Delivery Logs").click()
    dialog = page.get_by_role("dialog", name="Leave without saving")
    await dialog.get_by_role("button", name="Back").click()
    await expect(page.get_by_label("Name")).to_have_value("Half done")
    await page.get_by_role("link", name="Delivery Logs").click()
    await dialog.get_by_role("button", name="Leave without saving").click()
    await expect(page.get_by_role("heading", name="Delivery Logs")).to_be_visible()
