"""The log: mails arrive and change without a reload, are found, opened and read, and can do nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Open, Site, Tab
from tests.factories import MadeProject

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

HOSTILE = """
<h1>Hello</h1><script>window.top.pwned = 1; window.pwned = 1</script>
<img src="https://tracker.example/pixel.gif" onerror="window.top.pwned = 1">
<form action="https://evil.example/take"><button>Go</button></form>
<form id="own" action="/api/projects" method="post"><button>Mine</button></form>
<base href="https://evil.example/" target="_top">
<svg onload="window.top.pwned = 1"><script>window.top.pwned = 1</script>
<a xlink:href="javascript:top.pwned = 1"><text y="20">Vector</text></a></svg>
<math><mtext><img src=x onerror="top.pwned = 1"></mtext></math>
<a href="javascript:window.top.pwned = 1; window.opener.pwned = 1">Script link</a>
<a href="data:text/html,<script>opener.pwned = 1</script>">Data link</a>
<a href="/api/auth/me" target="_top">Top link</a>
<object data="https://evil.example/object"></object><embed src="https://evil.example/embed">
<div><template shadowrootmode="open"><script>top.pwned = 1</script></template></div>
<style>@import "https://evil.example/import.css"; @font-face {font-family: x; src: url(https://evil.example/f)}
* {background-image: url(https://evil.example/star)}</style>
<meta http-equiv="refresh" content="0; url=https://evil.example/">
<iframe src="https://evil.example/frame"></iframe>
<link rel="stylesheet" href="https://evil.example/style.css">
<div style="background: url(https://tracker.example/background.gif); color: red">Styled</div>
"""


async def _send(tab: Tab, project: MadeProject, **mail: object) -> str:
    body = {"to": "ann@example.com", "subject": "Hello", "text": "Hi"} | mail
    answer = await tab.page.context.request.post(
        f"{tab.site.url}/api/mail/send", data=body, headers=project.key
    )
    return str((await answer.json())["data"]["id"])


def _tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def test_a_test_mail_becomes_delivered_without_a_reload(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    await tab.go(project, "logs")
    await page.evaluate("window.same = true")
    await page.get_by_role("button", name="Send a test mail").first.click()
    dialog = page.get_by_role("dialog", name="Send a test mail")
    await dialog.get_by_label("Subject").fill("First mail")
    await dialog.get_by_role("button", name="Send the mail").click()
    row = page.get_by_test_id("log-row").filter(has_text="First mail")
    await expect(row.get_by_test_id("mail-status")).to_have_text("Delivered")

    await row.get_by_role("link").click()
    drawer = page.get_by_role("dialog")
    await expect(drawer.get_by_test_id("timeline-event").first).to_contain_text("Accepted")
    await expect(drawer.get_by_test_id("timeline-event").last).to_contain_text("Delivered")
    await expect(drawer.frame_locator("iframe").get_by_text("It works.")).to_be_visible()
    await drawer.get_by_role("tab", name="Text").click()
    await expect(drawer.get_by_role("tabpanel")).to_have_text("It works.")
    await drawer.get_by_role("tab", name="Headers").click()
    await expect(drawer.get_by_role("tabpanel")).to_contain_text("First mail")
    await page.keyboard.press("Escape")
    await expect(drawer).to_have_count(0)
    assert await page.evaluate("window.same") is True


async def test_a_hostile_mail_does_nothing(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    mail = await _send(tab, project, subject="Hostile", html=HOSTILE)
    left: list[str] = []
    page.on("request", lambda r: "example/" in r.url and left.append(f"{r.url} {r.failure}"))
    done: list[str] = []
    page.on("requestfinished", lambda r: "example/" in r.url and done.append(r.url))
    await tab.go(project, f"logs?mail={mail}")
    frame = page.frame_locator("iframe")
    await expect(frame.get_by_role("heading", name="Hello")).to_be_visible(timeout=20_000)
    await expect(frame.get_by_text("Styled")).to_have_css("color", "rgb(255, 0, 0)")
    await expect(page.get_by_text("4 remote images not loaded")).to_be_visible()
    # Whatever can be clicked is, and whoever is opened by it comes to nothing.
    here = page.url
    for name in ("Script link", "Data link", "Top link"):
        await frame.get_by_text(name).click()
    for name in ("Go", "Mine"):
        await frame.get_by_role("button", name=name).click()
    await page.wait_for_timeout(500)
    assert page.url == here
    for opened in page.context.pages[1:]:
        assert await opened.evaluate("window.opener") is None
        await opened.close()
    assert await page.evaluate("window.pwned") is None
    assert await page.evaluate("localStorage.getItem('postroom-token')") is not None
    assert done == []
    # The frame of the mail is a stranger to the page, and still shows the mail.
    inner = next(f for f in page.frames if f.url.endswith("/mail-view"))
    assert await inner.evaluate("origin") == "null"
    assert await inner.evaluate("typeof window.pwned") == "undefined"


async def test_filters_live_in_the_address_and_go_back(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    await _send(tab, project, to="bounced@example.com", subject="Bouncer")
    await _send(tab, project, subject="Keeper")
    await tab.go(project, "logs")
    rows = page.get_by_test_id("log-row")
    await expect(rows).to_have_count(2)
    await expect(rows.filter(has_text="Bouncer").get_by_test_id("mail-status")).to_have_text(
        "Bounced"
    )
    await page.get_by_role("textbox", name="Search subject").fill("keep")
    await expect(rows).to_have_count(1)
    assert "q=keep" in page.url
    await page.get_by_role("button", name="Clear filters").click()
    await expect(rows).to_have_count(2)
    await page.get_by_role("combobox", name="Status").click()
    await page.get_by_role("option", name="Bounced").click()
    await expect(rows).to_have_count(1)
    assert "status=bounced" in page.url

    other = await open_tab(project.owner)
    await other.page.goto(page.url)
    await expect(other.page.get_by_test_id("log-row")).to_have_count(1)
    await page.keyboard.press("Escape")
    await page.go_back()
    await expect(rows).to_have_count(2)
    await page.get_by_role("textbox", name="Search subject").fill("nothing of the kind")
    await expect(page.get_by_text("No mail matches these filters.")).to_be_visible()


async def test_pages_by_cursor_and_new_mails_wait_while_one_is_read(
    site: Site, open_tab: Open
) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    for number in range(53):
        await _send(tab, project, subject=f"Mail {number:02}")
    await tab.go(project, "logs")
    rows = page.get_by_test_id("log-row")
    await expect(rows).to_have_count(50)
    await expect(rows.first).to_contain_text("Mail 52")
    await page.get_by_role("button", name="Older").click()
    await expect(rows).to_have_count(3)
    await page.get_by_role("button", name="Newer").click()
    await expect(rows).to_have_count(50)

    await rows.first.get_by_role("link").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await _send(tab, project, subject="While reading")
    await expect(page.get_by_test_id("new-mails")).to_have_text("↑ 1 new mail")
    await expect(rows.first).to_contain_text("Mail 52")
    await page.keyboard.press("j")
    await expect(page.get_by_role("dialog")).to_contain_text("Mail 51")
    await page.keyboard.press("Escape")
    await expect(rows.first).to_contain_text("While reading")


async def test_a_scheduled_mail_is_canceled_and_refunded(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    page = tab.page
    mail = await _send(tab, project, subject="Later", scheduledAt=_tomorrow())
    await tab.go(project, f"logs?mail={mail}")
    drawer = page.get_by_role("dialog").first
    await expect(drawer.get_by_test_id("mail-status").first).to_have_text("Scheduled")
    await drawer.get_by_role("button", name="Cancel and refund").click()
    await page.get_by_role("button", name="Cancel the mail").click()
    await expect(drawer.get_by_test_id("mail-status").first).to_have_text("Canceled")
    await expect(page.get_by_test_id("quota")).to_contain_text("0 of")
