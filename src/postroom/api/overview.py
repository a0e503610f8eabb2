"""How a project is doing, for the dashboard."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from postroom.api.deps import AsViewer, Res
from postroom.api.envelope import Success, errors, ok
from postroom.api.logs import with_zone
from postroom.api.shapes import Asked, Told
from postroom.domain import overview

router = APIRouter(tags=["Overview"])

Bucket = Literal["minute", "hour", "day"]


class OverviewQuery(Asked):
    """Which time is asked for; without any, the last 24 hours."""

    since: Annotated[datetime | None, Field(alias="from")] = None
    until: datetime | None = None
    bucket: Bucket | None = None


class StatusCountsOut(Told):
    """Mails by what the log shows of them."""

    delivered: int
    sent: int
    queued: int
    outcome_unknown: int
    bounced: int
    complained: int
    failed: int


class BucketOut(Told):
    at: datetime
    counts: StatusCountsOut


class TotalsOut(Told):
    """Rates are of the mails whose fate the provider has reported; null without any."""

    accepted: int
    counts: StatusCountsOut
    delivered_rate: float | None
    bounced_rate: float | None
    complained_rate: float | None


class QuotaOut(Told):
    used: int
    limit: Annotated[int, Field(description="-1: unlimited.")]
    resets_at: datetime


class WaitingOut(Told):
    """What was not handed over yet; `atLeast` when there is more than was counted."""

    due: int
    scheduled: int
    outcome_unknown: int
    oldest_due_seconds: float
    at_least: bool


class AccountOut(Told):
    """A provider account that this project may send by."""

    provider: str
    title: str
    own: bool
    use: Literal["sending", "failover", "ready"]
    stopped_at: datetime | None
    stopped_reason: str | None
    waiting: int
    last_event_at: datetime | None
    reports: bool
    silent: Annotated[bool, Field(description="It reports far less than it used to.")]
    rate_per_second: float | None
    calls_last_second: int | None
    paused_seconds: float


class OverviewOut(Told):
    since: Annotated[datetime, Field(alias="from")]
    until: datetime
    bucket: Bucket
    whole_since: Annotated[
        datetime | None,
        Field(description="Set when the range has too many mails: counted from here on."),
    ]
    buckets: list[BucketOut]
    totals: TotalsOut
    before: Annotated[TotalsOut, Field(description="The period before, of the same length.")]
    quota: QuotaOut
    waiting: WaitingOut
    providers: list[AccountOut]


@router.get(
    "/api/projects/{projectId}/mail/overview",
    summary="How the project is doing",
    response_model=Success[OverviewOut],
    responses=errors(400, 401, 404),
)
async def get_overview(
    resources: Res, caller: AsViewer, asked: Annotated[OverviewQuery, Query()]
) -> Response:
    """Mails by status over time, rates with the period before, the quota, what waits, the providers."""
    wanted = overview.range_of(with_zone(asked.since), with_zone(asked.until), asked.bucket)
    project_id, shared = caller.project_id, resources.settings.shared_provider
    async with resources.sessions() as session:
        counted = await overview.count(session, project_id, wanted)
        before = await overview.count(session, project_id, wanted.before())
        quota = await overview.quota(session, project_id, caller.plan.monthly_limit)
        queue = await overview.waiting(session, project_id)
        providers = await overview.accounts(session, resources.redis, project_id, shared, queue)
    data = {
        "from": wanted.since,
        "until": wanted.until,
        "bucket": wanted.step,
        "wholeSince": counted.whole_since,
        "buckets": overview.buckets(wanted, counted),
        "totals": overview.totals(counted),
        "before": overview.totals(before),
        "quota": quota,
        "waiting": overview.summed(queue),
        "providers": providers,
    }
    return ok(data, "Overview retrieved.")
