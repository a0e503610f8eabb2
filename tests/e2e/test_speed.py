"""A hundred thousand mails in the log: it opens and pages at once, and watching it costs no memory."""

import asyncio
import time

import pytest
from playwright.async_api import expect
from sqlalchemy import text

from tests.e2e.conftest import Open, Site, Tab
from tests.factories import MadeProject

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

MAILS = 100_000
_FILL = text(
    """
insert into mail_logs (project_id, id, connection_id, stream, status, paid_month, recipient_key, recipients,
    subject, provider_id, sent_at)
  select :project, (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - cast(:mails as int) + n), 12, '0')
      || '7000' || '8' || lpad(to_hex(n), 15, '0'))::uuid,
    cast(:connection as int), 0, case when n % 50 = 0 then 6 else 5 end, date_trunc('month', now())::date, n,
    array['person' || n || '@example.com'], 'Mail ' || n, 'p_' || n || '_' || cast(:connection as int), now()
  from generate_series(1, cast(:mails as int)) n
"""
)
# From a click until the list shows other rows, told by the browser's own clock.
_PAGE = """
() => new Promise((done) => {
  const place = document.querySelector("main");
  const first = () => document.querySelector("[data-testid=log-row]")?.textContent;
  const before = first(), start = performance.now();
  new MutationObserver((_, watch) => {
    if (first() && first() !== before) { watch.disconnect(); done(performance.now() - start); }
  }).observe(place, {subtree: true, childList: true, characterData: true});
  [...document.querySelectorAll("button")].find((b) => b.textContent === "Older").click();
})
"""


async def _fill(site: Site, project: MadeProject) -> None:
    async with site.resources.sessions() as session:
        values = {"project": project.id, "connection": project.connection_id, "mails": MAILS}
        await session.execute(_FILL, values)
        await session.commit()
        await session.execute(text("analyze mail_logs"))
        await session.commit()


async def _opening(tab: Tab) -> float:
    """From a click in the navigation until the rows are there, in milliseconds."""
    page = tab.page
    await page.get_by_role("link", name="Overview").first.click()
    await expect(page.get_by_test_id("overview")).to_be_visible()
    start = time.perf_counter()
    await page.get_by_role("link", name="Delivery Logs").first.click()
    await page.get_by_test_id("log-row").first.wait_for()
    return (time.perf_counter() - start) * 1000


async def test_a_hundred_thousand_mails_open_and_page_at_once(site: Site, open_tab: Open) -> None:
    project = await site.project()
    await _fill(site, project)
    tab = await open_tab(project.owner)
    await tab.go(project, "logs")
    await expect(tab.page.get_by_test_id("log-row")).to_have_count(50)
    opened = [await _opening(tab) for _ in range(4)]
    await expect(tab.page.get_by_test_id("log-row")).to_have_count(50)
    paged = [float(await tab.page.evaluate(_PAGE)) for _ in range(6)]
    print(f"open {min(opened):.0f} ms of {opened}, page {min(paged):.0f} ms of {paged}")  # noqa: T201
    # The best of several: what the page costs, not what else this machine does.
    assert min(opened) < 300
    assert min(paged) < 200


async def test_watching_the_log_costs_no_memory(site: Site, open_tab: Open) -> None:
    project = await site.project()
    tab = await open_tab(project.owner)
    client = await tab.page.context.new_cdp_session(tab.page)

    async def heap() -> float:
        await client.send("HeapProfiler.collectGarbage")
        return float((await client.send("Runtime.getHeapUsage"))["usedSize"]) / 1e6

    async def arrive(count: int) -> None:
        for number in range(count):
            await tab.page.context.request.post(
                f"{site.url}/api/mail/send",
                headers=project.key,
                data={"to": f"p{number}@example.com", "subject": "Live", "text": "Hi"},
            )

    await tab.go(project, "logs")
    await arrive(60)
    await expect(tab.page.get_by_test_id("log-row")).to_have_count(50)
    before = await heap()
    for _ in range(4):
        await arrive(40)
        # The page asks every two seconds; this is the time it lives, not a wait for something.
        await asyncio.sleep(2.5)
    after = await heap()
    print(f"heap {before:.1f} MB, then {after:.1f} MB")  # noqa: T201
    assert after < before + 4
