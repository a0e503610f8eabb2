"""`make crash`: a bounded soak in which everything that can die does, while clients keep sending.

Two API and three worker processes, PostgreSQL, Valkey and two vendors run throughout: one that de-duplicates by
key (Resend's double) and one that does not (Paubox's), each with half of the mails. Clients repeat a request
under its Idempotency-Key until it is answered, as the documentation tells them to. At the end every mail is
counted: on disk, handed over, twice, parked, and against the quota's ledger.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from os import getloadavg
from pathlib import Path
from time import monotonic
from typing import Any

from bench.__main__ import machine
from bench.accounting import Counts, count
from bench.clients import Answers, Clients, plain_mail
from bench.rig import Rig, rig
from bench.soak import USUAL, Resumed, Soak, disturb
from bench.tenants import WEBHOOK_SECRET, Tenant, Vendor, make_tenant, vendor

OUT = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- crash:begin -->", "<!-- crash:end -->"
CONNECTIONS = 8  # of the clients of each vendor
SENDING_SHARE = 0.9  # of the time; the rest is for what is still under way
AHEAD = 0.2  # of the mails that need not wait for kills; the rest keeps step with them to the end
RATES = {"resend": 40, "paubox": 20}  # calls a second
TITLES = {"resend": "with keys (Resend)", "paubox": "without keys (Paubox)"}


@dataclass(frozen=True)
class Plan:
    """How much of what, and how fast."""

    seconds: float
    mails: int  # of each vendor
    kills: int
    seed: int
    load: float  # of the machine by others, before it began


@dataclass
class Schedule:
    """Mails and kills run out together, so that neither is left without the other."""

    plan: Plan
    began: float

    @property
    def passed(self) -> float:
        """The share of the sending time that is over."""
        return (monotonic() - self.began) / (self.plan.seconds * SENDING_SHARE)

    def is_late(self) -> bool:
        return monotonic() - self.began > self.plan.seconds

    def is_due(self, of_a_thousand: int) -> bool:
        return of_a_thousand / 1000 <= self.passed

    def pace_for(self, soak: Soak) -> Any:
        async def pace(number: int) -> None:
            share = number / self.plan.mails
            while not self.is_late() and (
                share > self.passed or share > AHEAD + (1 - AHEAD) * soak.kills / self.plan.kills
            ):
                await asyncio.sleep(0.02)

        return pace


def keyed_mail(number: int) -> dict[str, Any]:
    """One in two hundred is refused by the vendor, one in three hundred fails after it: both are paid back."""
    mail = plain_mail(number)
    if number % 200 == 0:
        return mail | {"to": f"rejected+{number}@example.com"}
    return mail | {"to": f"failed+{number}@example.com"} if number % 300 == 1 else mail


async def run(plan: Plan) -> tuple[Soak, dict[str, Counts], dict[str, Answers]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postroom-crash-")))
        paubox = await stack.enter_async_context(vendor("paubox", folder, **USUAL["paubox"]))
        r = await stack.enter_async_context(
            rig(
                apis=2,
                workers=3,
                vendor=USUAL["resend"] | {"named_limit": RATES["resend"]},
                PAUBOX_BASE_URL=paubox.url,
                POSTROOM_LOG_LEVEL="info",
                # Far from it the gate is counted after the mails, near it it is asked before them: both happen.
                FREE_MONTHLY_LIMIT=str(plan.mails + 15_000),
            )
        )
        vendors = {"resend": Vendor("resend", r.vendor_url, r.others[0]), "paubox": paubox}
        tenants = {
            name: await make_tenant(r, v, ratePerSecond=RATES[name]) for name, v in vendors.items()
        }
        await report_events(r, tenants["resend"])
        soak = Soak(r, tenants, random.Random(plan.seed), plan.kills)
        answers = await send_and_disturb(soak, plan)
        await r.wait_settled(300)
        return soak, {n: await count(r, t, answers[n]) for n, t in tenants.items()}, answers


async def report_events(r: Rig, tenant: Tenant) -> None:
    """The vendor tells of one mail in ten, to an API process that may be dead just then."""
    await tenant.vendor.faults(
        webhook_url=f"http://127.0.0.1:{r.api_ports[0]}{tenant.webhook_path}",
        webhook_secret=WEBHOOK_SECRET,
        webhook_silent_percent=90,
    )


async def send_and_disturb(soak: Soak, plan: Plan) -> dict[str, Answers]:
    schedule = Schedule(plan, monotonic())
    bodies = {"resend": keyed_mail, "paubox": plain_mail}
    clients = {
        name: Clients(
            soak.rig.api_ports, t.key, f"soak-{name}", bodies[name], schedule.pace_for(soak)
        )
        for name, t in soak.tenants.items()
    }
    telling = asyncio.create_task(tell(soak, clients, plan))
    sending = [
        asyncio.create_task(c.send(range(plan.mails), CONNECTIONS)) for c in clients.values()
    ]
    try:
        await disturb(soak, schedule.is_due, schedule.is_late)
        await asyncio.gather(*sending)
    finally:
        for task in (telling, *sending):
            task.cancel()
    return {name: c.answers for name, c in clients.items()}


async def tell(soak: Soak, clients: dict[str, Clients], plan: Plan) -> None:
    """How far it is, every 15 seconds."""
    began = monotonic()
    while True:
        await asyncio.sleep(15)
        answered = ", ".join(f"{len(c.answers.bodies):,} {name}" for name, c in clients.items())
        kills = f"{soak.kills} of {plan.kills} kills"
        line = f"{monotonic() - began:.0f} s: {answered} of {plan.mails:,} each; {kills}"
        print(line, file=sys.stderr, flush=True)


# ── What is written of it ────────────────────────────────────────────────────────────────────────

ROWS = (
    ("accepted (answered 200)", "accepted"),
    ("on disk", "on_disk"),
    ("final (handed over or failed)", "final"),
    ("of these failed, and paid back", "failed"),
    ("**lost**", "lost"),
    ("**duplicated**", "duplicated"),
    ("**blind repeats**", "blind_repeats"),
    ("parked as outcome unknown", "parked"),
    ("of these taken by the vendor", "parked_but_taken"),
    ("left in the outbox", "left"),
    ("on disk without an answer", "not_answered"),
    ("**quota counter minus ledger**", "quota_minus_ledger"),
    ("months that paid", "months"),
    ("calls repeated under their key", "repeated_keys"),
    ("**repeats with other bytes**", "repeats_with_other_bytes"),
    ("most calls in any second", "most_calls_in_a_second"),
)
ZEROES = (
    "lost", "duplicated", "blind_repeats", "left", "not_answered", "quota_minus_ledger",
    "repeats_with_other_bytes",
)  # fmt: skip


def page(soak: Soak, counts: dict[str, Counts], answers: dict[str, Answers], plan: Plan) -> str:
    names = list(counts)
    total = sum(c.accepted for c in counts.values())
    broken_off = sum(a.broken for a in answers.values())
    replayed = sum(a.replayed for a in answers.values())
    lines = [
        f"Measured on {machine()}; {soak.kills} kills over {total:,} accepted mails in"
        f" {plan.seconds / 60:.0f} minutes at the most (seed {plan.seed}), on a machine that had a load of"
        f" {plan.load:.1f} before it began.",
        "",
        "| what happened | times |",
        "|---|---|",
        *(f"| {what} | {times} |" for what, times in soak.happened.most_common()),
        f"| mails whose call outlived its key | {soak.aged_mails} |",
        f"| requests cut off in the middle, and repeated by their clients | {broken_off:,} |",
        f"| requests answered with what an earlier one had become | {replayed:,} |",
        "",
        "| what became of the mails | " + " | ".join(TITLES[n] for n in names) + " |",
        "|---" * (len(names) + 1) + "|",
        *(
            f"| {title} | " + " | ".join(f"{getattr(counts[n], name):,}" for n in names) + " |"
            for title, name in ROWS
        ),
        "",
        *resumed_lines(soak.resumed, names),
    ]
    return "\n".join(lines)


def resumed_lines(resumed: Sequence[Resumed], names: Sequence[str]) -> list[str]:
    """Seconds from the death of all workers; three new ones are started at that moment."""
    figures = {"until the first new worker is ready": [r.ready for r in resumed if r.ready]}
    for name in names:
        title = f"until the vendor {TITLES[name]} gets a new mail"
        figures[title] = [r.calls[name] for r in resumed if name in r.calls]
    head = [
        f"| all workers killed at once ({len(resumed)} times) | median | longest |",
        "|---|---|---|",
    ]
    return head + [
        f"| {title} | {statistics.median(seconds):.1f} s | {max(seconds):.1f} s |"
        for title, seconds in figures.items()
        if seconds
    ]


def broken(soak: Soak, counts: dict[str, Counts], plan: Plan) -> list[str]:
    """Every sentence of the promise that did not hold, and what the run itself fell short of."""
    found = []
    for name, c in counts.items():
        found += [f"{name}: {z} = {getattr(c, z)}" for z in ZEROES if getattr(c, z)]
        found += [f"{name}: duplicated because {why}" for why in c.why_duplicated]
        if not c.accepted == c.on_disk == plan.mails:
            found.append(f"{name}: {plan.mails} asked, {c.accepted} accepted, {c.on_disk} on disk")
        if c.final + c.parked != c.on_disk:
            found.append(f"{name}: {c.on_disk - c.final - c.parked} neither final nor shown")
        if c.months < 2:
            found.append(f"{name}: no mail was paid by the month that turned")
    if (parked := counts["resend"].parked) > soak.aged_mails:
        found.append(f"resend: {parked} parked, though only {soak.aged_mails} outlived their key")
    if not soak.aged_mails:
        found.append("the run: no call outlived its key")
    if soak.kills < plan.kills:
        found.append(f"the run: {soak.kills} kills instead of {plan.kills}")
    return found


def write(text: str) -> None:
    """Put the tables into the document, between its marks."""
    whole = OUT.read_text()
    head, _, rest = whole.partition(BEGIN)
    _, _, tail = rest.partition(END)
    OUT.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--minutes", type=float, default=22)
    parser.add_argument("--mails", type=int, default=210_000, help="of both vendors together")
    parser.add_argument("--kills", type=int, default=205)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    args = parser.parse_args()
    plan = Plan(args.minutes * 60, args.mails // 2, args.kills, args.seed, getloadavg()[0])
    soak, counts, answers = asyncio.run(run(plan))
    text = page(soak, counts, answers, plan)
    print(text)
    if args.write:
        write(text)
    problems = broken(soak, counts, plan)
    for problem in problems:
        print(f"THE CONTRACT IS BROKEN: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
