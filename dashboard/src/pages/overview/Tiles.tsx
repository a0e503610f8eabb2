import { Link } from "react-router";
import type { Overview } from "../../api/overview";
import { useThisProject } from "../../shell/project";
import { duration, number, percent } from "../../ui/time";

/** Each figure with its yardstick and its change, leading to the mails behind it. */
export function Tiles({ figures, range }: { figures: Overview; range: string }) {
  const project = useThisProject();
  const { totals, before, waiting } = figures;
  const log = (status: string) => {
    const [from, until] = range.split("..");
    const query = new URLSearchParams(status ? { status } : {});
    if (from && until) {
      query.set("from", from);
      query.set("until", until);
    } else query.set("range", range);
    return `/project/${project.id}/mail/logs?${query}`;
  };
  const more = totals.accepted - before.accepted;
  return (
    <div className="tile-grid">
      <Tile
        to={log("")}
        label="Accepted"
        figure={number(totals.accepted)}
        note={
          before.accepted
            ? `${more >= 0 ? "+" : "−"}${number(Math.abs(more))} against before`
            : "none before"
        }
      />
      <Tile
        to={log("delivered")}
        label="Delivered"
        figure={percent(totals.deliveredRate)}
        note={changed(totals.deliveredRate, before.deliveredRate)}
      />
      <Tile
        to={log("bounced")}
        label="Bounced"
        figure={percent(totals.bouncedRate)}
        tone={tone(totals.bouncedRate, 0.02, 0.05)}
        note="under 2 % is healthy, 5 % risks the account"
      />
      <Tile
        to={log("complained")}
        label="Complained"
        figure={percent(totals.complainedRate)}
        tone={tone(totals.complainedRate, 0.001, 0.003)}
        note="under 0.1 % is healthy"
      />
      <Tile
        to={log("queued")}
        label="Oldest due"
        figure={waiting.due ? duration(waiting.oldestDueSeconds * 1000) : "–"}
        note={`${number(waiting.due)} due`}
        tone={waiting.oldestDueSeconds > 60 ? "warning" : undefined}
      />
    </div>
  );
}

interface TileProps {
  to: string;
  label: string;
  figure: string;
  note: string;
  tone?: "warning" | "bad";
}

function Tile({ to, label, figure, note, tone }: TileProps) {
  return (
    <Link to={to} className="panel tile" data-tone={tone}>
      <span className="small dimmed">{label}</span>
      <span className="figure">{figure}</span>
      <span className="small dimmed">{note}</span>
    </Link>
  );
}

function tone(rate: number | null, healthy: number, bad: number): "warning" | "bad" | undefined {
  if (rate === null || rate < healthy) return undefined;
  return rate < bad ? "warning" : "bad";
}

function changed(now: number | null, before: number | null): string {
  if (now === null || before === null) return "nothing to compare with";
  const points = (now - before) * 100;
  return `${points >= 0 ? "+" : "−"}${Math.abs(points).toFixed(1)} points against before`;
}
