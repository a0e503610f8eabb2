"""Every mail counted: what the clients were answered, what is on disk, what the vendor took, and the quota."""

from dataclasses import dataclass
from typing import Any

from bench.clients import Answers
from bench.rig import Rig
from bench.tenants import Tenant
from postroom.domain.status import State

_LOG = """
select m.id, m.status, m.outcome_unknown as parked, m.refunded, o.id is not null as in_outbox
  from mail_logs m left join outbox o on o.id = m.id where m.project_id = $1::uuid
"""

# The month that paid is the month that is paid back.
_LEDGER = """
select month, coalesce(q.used, 0)::int as used, coalesce(m.mails, 0)::int as mails
  from (select month, used from quota_months where project_id = $1::uuid) q
  full join (select paid_month as month, count(*) as mails from mail_logs
    where project_id = $1::uuid and not refunded group by 1) m using (month)
"""


@dataclass(frozen=True)
class Counts:
    """What became of the mails of one project. Every field that a promise speaks of is zero when it is kept."""

    accepted: int
    on_disk: int
    final: int
    failed: int
    lost: int
    duplicated: int
    blind_repeats: int
    parked: int
    parked_but_taken: int
    left: int
    not_answered: int  # on disk, though no client was told so
    quota_minus_ledger: int
    months: int
    repeated_keys: int
    repeats_with_other_bytes: int
    most_calls_in_a_second: int
    why_duplicated: tuple[str, ...] = ()


async def count(rig: Rig, tenant: Tenant, answers: Answers) -> Counts:
    """Look at everything there is."""
    rows = {str(r["id"]): r for r in await rig.sql(_LOG, tenant.project_id)}
    months = await rig.sql(_LEDGER, tenant.project_id)
    report = await tenant.vendor.report()
    taken = {_mail_of(ref) for ref in await tenant.vendor.refs()}
    told = set(answers.ids().values())
    parked = {i for i, r in rows.items() if r["parked"]}
    left = {i for i, r in rows.items() if r["in_outbox"] and not r["parked"]}
    return Counts(
        accepted=len(told),
        on_disk=len(rows),
        final=sum(r["status"] > State.QUEUED for r in rows.values()),
        failed=sum(r["status"] == State.FAILED for r in rows.values()),
        lost=len(told - set(rows)) + sum(_is_lost(i, r, taken) for i, r in rows.items()),
        duplicated=report["duplicates"],
        blind_repeats=report["blind_repeats"],
        parked=len(parked),
        parked_but_taken=len(parked & taken),
        left=len(left),
        not_answered=len(set(rows) - told),
        quota_minus_ledger=sum(abs(m["used"] - m["mails"]) for m in months),
        months=len(months),
        repeated_keys=report["repeated_keys"],
        repeats_with_other_bytes=report["repeated_key_bytes_differ"],
        most_calls_in_a_second=report["max_calls_in_a_second"],
        why_duplicated=tuple(str(d) for d in report["duplicate_refs"]),
    )


def _mail_of(ref: str) -> str:
    """The mail's id in the reference that the vendor was given."""
    h = ref.rpartition("-")[2]
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _is_lost(mail_id: str, row: Any, taken: set[str]) -> bool:
    """Said to be sent though no vendor has it, or in a state that nobody will ever look at again."""
    if row["status"] == State.QUEUED:
        return not row["in_outbox"]
    return row["status"] != State.FAILED and mail_id not in taken
