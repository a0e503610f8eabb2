import { SegmentedControl } from "@mantine/core";
import { lazy, Suspense } from "react";
import { Link, useSearchParams } from "react-router";
import { type Overview as Figures, type Span, useOverview } from "../../api/overview";
import { useThisProject } from "../../shell/project";
import { Code } from "../../ui/Copy";
import { curlFor } from "../../ui/curl";
import { Meter } from "../../ui/Meter";
import { Page, Panel } from "../../ui/Page";
import { Empty, Failed, Loading, Notice } from "../../ui/states";
import { duration, exact, number } from "../../ui/time";
import { Accounts } from "./Accounts";
import { CustomRange } from "./CustomRange";
import { Tiles } from "./Tiles";
import "./overview.css";

const Bars = lazy(() => import("./Bars"));

const SPANS: Record<string, number> = { "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400 };

function spanOf(range: string): Span {
  const [from, until] = range.split("..");
  return from && until ? { from, until } : { seconds: SPANS[range] ?? 86_400 };
}

export default function Overview() {
  const project = useThisProject();
  const [search, setSearch] = useSearchParams();
  const range = search.get("range") ?? "24h";
  const figures = useOverview(project.id, spanOf(range));
  const choose = (value: string) => setSearch(value === "24h" ? {} : { range: value });
  return (
    <Page
      title="Overview"
      where={project.name}
      actions={
        <>
          <SegmentedControl
            size="sm"
            aria-label="Time range"
            value={SPANS[range] ? range : ""}
            onChange={choose}
            data={[
              { value: "24h", label: "24 hours" },
              { value: "7d", label: "7 days" },
              { value: "30d", label: "30 days" },
            ]}
          />
          <CustomRange range={range} onChoose={choose} />
        </>
      }
    >
      {figures.error && <Failed error={figures.error} retry={() => void figures.refetch()} />}
      {figures.isPending && !figures.error && <Loading rows={6} height={64} />}
      {figures.data && <Shown figures={figures.data} range={range} />}
    </Page>
  );
}

function Shown({ figures, range }: { figures: Figures; range: string }) {
  const project = useThisProject();
  return (
    <div className="stack" data-testid="overview">
      {figures.wholeSince && (
        <Notice tone="warning" title="Only the newest mails of this range are counted.">
          The figures are whole since {exact(figures.wholeSince)}; choose a shorter range to count
          all of it.
        </Notice>
      )}
      <Tiles figures={figures} range={range} />
      {figures.totals.accepted > 0 ? (
        <Panel title="Mails by status">
          <Suspense fallback={<Loading rows={1} height={280} />}>
            <Bars figures={figures} range={range} />
          </Suspense>
        </Panel>
      ) : (
        <Panel>
          <Empty title="No mail in this time.">
            <p>
              Paste this into a terminal, with the project's secret key, and watch it arrive in the
              log.
            </p>
            <Code text={curlFor("sk_live_…")} label="first mail" />
            <Link to={`/project/${project.id}/mail/logs`}>To the Delivery Logs</Link>
          </Empty>
        </Panel>
      )}
      <div className="two">
        <Panel title="Quota">
          <Meter used={figures.quota.used} limit={figures.quota.limit} label="Mails this month" />
          <p className="dimmed small">
            The {project.plan} plan · resets{" "}
            {new Date(figures.quota.resetsAt).toLocaleDateString("en-GB", {
              day: "numeric",
              month: "short",
              timeZone: "UTC",
            })}{" "}
            UTC
          </p>
        </Panel>
        <Panel title="Waiting">
          <Waiting waiting={figures.waiting} />
        </Panel>
      </div>
      <Panel title="Providers">
        <Accounts accounts={figures.providers} />
      </Panel>
    </div>
  );
}

function Waiting({ waiting }: { waiting: Figures["waiting"] }) {
  const project = useThisProject();
  const some = (count: number) => `${waiting.atLeast ? "at least " : ""}${number(count)}`;
  return (
    <dl className="facts">
      <dt>Due now</dt>
      <dd>
        {some(waiting.due)}
        {waiting.due > 0 && `, the oldest for ${duration(waiting.oldestDueSeconds * 1000)}`}
      </dd>
      <dt>Scheduled</dt>
      <dd>{some(waiting.scheduled)}</dd>
      <dt>Outcome unknown</dt>
      <dd>
        {waiting.outcomeUnknown > 0 ? (
          <Link to={`/project/${project.id}/mail/logs?status=unknown`}>
            {some(waiting.outcomeUnknown)}
          </Link>
        ) : (
          "0"
        )}
      </dd>
    </dl>
  );
}
