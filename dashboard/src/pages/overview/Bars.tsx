import { BarChart } from "@mantine/charts";
import "@mantine/charts/styles.css";
import { Button } from "@mantine/core";
import { useState } from "react";
import { useNavigate } from "react-router";
import type { Counts, Overview } from "../../api/overview";
import { useThisProject } from "../../shell/project";
import { number } from "../../ui/time";

// From the base up, as the legend says.
const SERIES: { name: keyof Counts; label: string; color: string }[] = [
  { name: "delivered", label: "Delivered", color: "var(--pr-chart-delivered)" },
  { name: "sent", label: "Sent", color: "var(--pr-chart-sent)" },
  { name: "queued", label: "Queued", color: "var(--pr-chart-queued)" },
  { name: "outcomeUnknown", label: "Outcome unknown", color: "var(--pr-chart-unknown)" },
  { name: "bounced", label: "Bounced", color: "var(--pr-chart-bounced)" },
  { name: "complained", label: "Complained", color: "var(--pr-chart-complained)" },
  { name: "failed", label: "Failed", color: "var(--pr-chart-failed)" },
];

export default function Bars({ figures }: { figures: Overview; range: string }) {
  const [table, setTable] = useState(false);
  const used = SERIES.filter(({ name }) => figures.totals.counts[name] > 0);
  return (
    <figure className="flat">
      <figcaption className="panel-head">
        <span className="small dimmed">{summary(figures)}</span>
        <Button
          size="compact-xs"
          variant="default"
          onClick={() => setTable(!table)}
          aria-pressed={table}
        >
          {table ? "As bars" : "As table"}
        </Button>
      </figcaption>
      {table ? <Table figures={figures} used={used} /> : <Chart figures={figures} used={used} />}
    </figure>
  );
}

interface Props {
  figures: Overview;
  used: typeof SERIES;
}

function Chart({ figures, used }: Props) {
  const project = useThisProject();
  const navigate = useNavigate();
  const data = figures.buckets.map(({ at, counts }) => ({
    at,
    label: label(at, figures.bucket),
    ...counts,
  }));
  const open = (at: string) => {
    const from = new Date(at);
    const until = new Date(from.getTime() + LENGTH[figures.bucket]);
    const query = new URLSearchParams({ from: from.toISOString(), until: until.toISOString() });
    void navigate(`/project/${project.id}/mail/logs?${query}`);
  };
  return (
    <div className="chart" aria-hidden>
      <BarChart
        h={260}
        data={data}
        dataKey="label"
        type="stacked"
        series={used.map(({ name, label: words, color }) => ({ name, label: words, color }))}
        barChartProps={{ accessibilityLayer: false }}
        withLegend
        withTooltip
        gridAxis="x"
        legendProps={{ itemSorter: null }}
        tickLine="none"
        valueFormatter={number}
        barProps={{
          stroke: "var(--pr-panel)",
          strokeWidth: 1,
          isAnimationActive: false,
          cursor: "pointer",
          onClick: (bar: { payload?: { at?: string } }) => bar.payload?.at && open(bar.payload.at),
        }}
        xAxisProps={{ interval: "preserveStartEnd", minTickGap: 24 }}
        yAxisProps={{ allowDecimals: false, width: 44 }}
      />
    </div>
  );
}

function Table({ figures, used }: Props) {
  const rows = figures.buckets.filter(({ counts }) =>
    Object.values(counts).some((count) => count > 0),
  );
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls sideways must be reachable by keyboard
    <section className="scroller" aria-label="Mails by status, as a table" tabIndex={0}>
      <table className="table">
        <thead>
          <tr>
            <th scope="col">From</th>
            {used.map(({ name, label: words }) => (
              <th scope="col" key={name} className="num">
                {words}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ at, counts }) => (
            <tr key={at}>
              <th scope="row">{label(at, figures.bucket)}</th>
              {used.map(({ name }) => (
                <td key={name} className="num">
                  {number(counts[name])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

const LENGTH = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };

function label(at: string, bucket: Overview["bucket"]): string {
  const date = new Date(at);
  if (bucket === "day")
    return date.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return date.toDateString() === new Date().toDateString()
    ? time
    : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

function summary({ totals, buckets, bucket }: Overview): string {
  const counts = SERIES.filter(({ name }) => totals.counts[name] > 0).map(
    ({ name, label: words }) => `${number(totals.counts[name])} ${words.toLowerCase()}`,
  );
  const utc = bucket === "day" ? ", days in UTC" : "";
  return `${number(totals.accepted)} mails in ${buckets.length} ${bucket}s${utc}: ${counts.join(", ")}.`;
}
