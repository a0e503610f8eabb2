"""A process is killed at each boundary between two steps; the promise is kept whichever step was the last one.

What must come of it is told for each boundary, so that a boundary which moves is noticed.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from bench.clients import Answers, plain_mail

from tests.crash.conftest import Place

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash")]
long = pytest.mark.long

MAILS = 40  # few enough for one call
DAY = timedelta(days=1)
SLOW = 1500  # milliseconds: long enough to die in mid-call


def some_rejected(number: int) -> dict[str, Any]:
    """Every tenth mail has an address that Resend refuses: it fails, and its slot comes back."""
    mail = plain_mail(number)
    return mail | {"to": "rejected@example.com"} if number % 10 == 0 else mail


# ── The API, from the request to the bell ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("slots-reserved", marks=long),
        pytest.param("mails-written", marks=long),
        "mails-committed",
        pytest.param("bell-due", marks=long),
    ],
)
async def test_an_api_killed_while_it_accepts_costs_nothing(place: Place, kept: Any, point: str):
    tenant = await place.tenant("resend")
    doomed, port = await place.doomed_api(point, nth=3)
    # Who is cut off asks the other process, under the same key.
    clients = place.clients(tenant, port, place.rig.api_ports[0])
    sending = asyncio.create_task(clients.send(range(MAILS), 4))
    await place.died(doomed, point)
    answers = await sending
    await place.worker()
    await place.settled()
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert counts.parked == 0
    if point == "mails-committed":
        # On disk before any client knew of it: they were told what their first request had become.
        assert answers.replayed > 0
    elif point != "bell-due":
        assert answers.replayed == 0


@long
async def test_the_gate_of_a_killed_api_is_set_to_what_the_ledger_says(place: Place):
    tenant = await place.tenant("resend")
    doomed, port = await place.doomed_api("slots-reserved", nth=3)
    clients = place.clients(tenant, port)
    sending = asyncio.create_task(clients.send(range(MAILS), 4))
    await place.died(doomed, "slots-reserved")
    await place.api(port)
    await sending
    (used,) = await place.rig.sql(
        "select used, to_char(month, 'YYYY-MM') as month from quota_months where project_id = $1::uuid",
        tenant.project_id,
    )
    gate = f"project:mail:count:{tenant.project_id}:{used['month']}"
    # What it had reserved and not written is still taken.
    assert int(await place.redis("GET", gate)) > used["used"] == MAILS
    await place.worker()
    async with asyncio.timeout(75):  # the minute's work
        while int(await place.redis("GET", gate)) != MAILS:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("point", ["events-written", "events-committed"])
@long
async def test_an_api_killed_while_it_takes_in_a_webhook_counts_each_event_once(
    place: Place, kept: Any, point: str
):
    def some_fail(number: int) -> dict[str, Any]:
        mail = plain_mail(number)
        return mail | {"to": "failed@example.com"} if number % 10 == 0 else mail

    tenant = await place.tenant("resend")
    doomed, port = await place.doomed_api(point, nth=10)
    hooks = f"http://127.0.0.1:{port}{tenant.webhook_path}"
    secret = "whsec_" + "YS1zZWNyZXQtb2YtdGhlLXJpZy1hbmQtbm8tb3RoZXI="
    await tenant.vendor.faults(webhook_url=hooks, webhook_secret=secret)
    await place.worker()
    answers = await place.clients(tenant, body=some_fail).send(range(MAILS), 4)
    await place.died(doomed, point)
    await place.api(port)
    told = "select 1 from mail_logs where project_id = $1::uuid having count(*) filter (where status > 2) = $2"
    await place.until(told, tenant.project_id, MAILS)
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert counts.failed == MAILS // 10
    used = "select used from quota_months where project_id = $1::uuid"
    assert (await place.rig.sql(used, tenant.project_id))[0]["used"] == MAILS - MAILS // 10


# ── The worker, from the bell to the bookkeeping ─────────────────────────────────────────────────

# What a vendor with a key sees again, and what is in doubt at one without.
REPEATED = {"calling", "call-answered", "results-written"}
IN_DOUBT = REPEATED | {"attempt-committed"}
WORKER_POINTS = [
    "mails-found", "attempt-written", "attempt-committed", "calling", "call-answered",
    "results-written", "results-committed",
]  # fmt: skip
IN_SHORT = {
    "resend": {"call-answered", "results-committed"},
    "paubox": {"attempt-committed", "calling"},
}


def points_of(vendor: str) -> list[Any]:
    short = IN_SHORT[vendor]
    return [p if p in short else pytest.param(p, marks=long) for p in WORKER_POINTS]


@pytest.mark.parametrize("point", points_of("resend"))
async def test_a_worker_killed_on_the_way_to_a_keyed_vendor_costs_nothing(
    place: Place, kept: Any, point: str
):
    tenant = await place.tenant("resend")
    await tenant.vendor.faults(latency_ms=SLOW)
    answers = await place.clients(tenant, body=some_rejected).send(range(MAILS), 4)
    await place.died(await place.doomed_worker(point), point)
    await tenant.vendor.faults(latency_ms=0)
    await place.let_leases_lapse()
    await place.worker()
    await place.settled()
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert counts.parked == 0
    assert counts.failed == MAILS // 10
    assert (counts.repeated_keys > 0) == (point in REPEATED)


@pytest.mark.parametrize("point", points_of("paubox"))
async def test_a_worker_killed_on_the_way_to_a_vendor_without_keys_sends_nothing_twice(
    place: Place, kept: Any, point: str
):
    tenant = await place.tenant("paubox")
    await tenant.vendor.faults(latency_ms=SLOW)
    answers = await place.clients(tenant).send(range(MAILS), 4)
    await place.died(await place.doomed_worker(point), point)
    await tenant.vendor.faults(latency_ms=0)
    await place.let_leases_lapse()
    await place.worker()
    await asyncio.sleep(SLOW / 1000)  # what the vendor had read it takes, whoever is dead
    await place.settled()
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert (counts.parked > 0) == (point in IN_DOUBT)
    assert (counts.parked_but_taken > 0) == (point in REPEATED)
    assert await shown_as_unknown(place, tenant.key) == counts.parked


async def shown_as_unknown(place: Place, key: str) -> int:
    """How many mails the project reads as of unknown outcome."""
    async with httpx.AsyncClient(base_url=place.rig.url, trust_env=False) as http:
        headers = {"x-api-key": key}
        answer = await http.get("/api/mail/logs", params={"limit": 100}, headers=headers)
    return sum(mail["outcomeUnknown"] for mail in answer.raise_for_status().json()["data"])


# ── The worker that finds what a dead one left, and dies as well ─────────────────────────────────


@pytest.mark.parametrize(
    "deaths",
    [
        ("calling", "takeover-written"),
        ("calling", "takeover-committed"),
        ("attempt-committed", "calling", "call-answered"),
        ("call-answered", "takeover-committed", "results-written"),
    ],
    ids=" then ".join,
)
@long
async def test_workers_that_die_one_after_the_other_over_one_call_cost_nothing(
    place: Place, kept: Any, deaths: tuple[str, ...]
):
    tenant = await place.tenant("resend")
    await tenant.vendor.faults(latency_ms=SLOW)
    answers = await place.clients(tenant, body=some_rejected).send(range(MAILS), 4)
    for point in deaths:
        await place.died(await place.doomed_worker(point), point)
        await place.let_leases_lapse()
    await tenant.vendor.faults(latency_ms=0)
    await place.worker()
    await place.settled()
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert (counts.parked, counts.failed) == (0, MAILS // 10)
    assert counts.repeated_keys > 0


@pytest.mark.parametrize("point", ["parking-written", "parking-committed"])
@long
async def test_a_worker_killed_while_it_parks_leaves_no_mail_unseen(
    place: Place, kept: Any, point: str
):
    tenant = await place.tenant("paubox")
    await tenant.vendor.faults(latency_ms=SLOW)
    answers = await place.clients(tenant).send(range(MAILS), 4)
    await place.died(await place.doomed_worker("calling"), "calling")
    await place.let_leases_lapse()
    await place.died(await place.doomed_worker(point), point)
    await place.worker()
    await asyncio.sleep(SLOW / 1000)  # what the vendor had read it takes, whoever is dead
    await place.settled()
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert counts.parked == counts.parked_but_taken > 0
    assert await shown_as_unknown(place, tenant.key) == counts.parked


# ── Longer away than the vendor remembers ────────────────────────────────────────────────────────


@long
async def test_a_call_older_than_the_vendors_memory_is_parked_and_never_repeated(
    place: Place, kept: Any
):
    tenant = await place.tenant("resend")
    await tenant.vendor.faults(latency_ms=SLOW)
    answers = await place.clients(tenant).send(range(MAILS), 4)
    await place.died(await place.doomed_worker("call-answered"), "call-answered")
    await place.rig.sql(
        "update attempts set called_at = called_at - interval '25 hours',"
        " lease_until = lease_until - interval '25 hours'"
    )
    await tenant.vendor.forget_keys()
    await place.worker()
    await place.settled()
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert counts.parked == counts.parked_but_taken > 0
    assert counts.repeated_keys == 0


# ── The month turns between the hand-over's two ends ─────────────────────────────────────────────


@long
async def test_a_mail_that_fails_after_the_month_turned_is_paid_back_to_the_month_that_paid(
    place: Place, kept: Any
):
    tenant = await place.tenant("resend")
    now = datetime.now(UTC)
    this, later = (
        f"{month:%Y-%m-%d}" for month in (now.replace(day=1), now.replace(day=1) + 32 * DAY)
    )
    port = await place.api_ahead((now.replace(day=1) + 32 * DAY).replace(day=2) - now)
    before = place.clients(tenant, body=some_rejected)
    after = place.clients(tenant, port, body=some_rejected)
    before_answers = await before.send(range(20), 4)
    after_answers = await after.send(range(MAILS), 4)
    # The worker's own month is another one than that of half of the mails.
    await place.worker()
    await place.settled()
    used = "select to_char(month, 'YYYY-MM') as month, used from quota_months where project_id = $1::uuid"
    paid = {row["month"]: row["used"] for row in await place.rig.sql(used, tenant.project_id)}
    assert paid == {this[:7]: 20 - 2, later[:7]: MAILS - MAILS // 10}
    everyone = Answers(
        bodies=dict(enumerate([*before_answers.bodies.values(), *after_answers.bodies.values()]))
    )
    kept(await place.count(tenant, everyone), 20 + MAILS)
