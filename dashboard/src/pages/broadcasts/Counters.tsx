import { Link } from "react-router";
import type { BroadcastCounts } from "../../api/broadcasts";
import { useThisProject } from "../../shell/project";
import { number } from "../../ui/time";

// The nine parts of an audience, in the order of the bar.
const PARTS: { name: keyof BroadcastCounts; label: string; colour: string; status?: string }[] = [
  { name: "delivered", label: "Delivered", colour: "delivered", status: "delivered" },
  { name: "sent", label: "Sent", colour: "sent", status: "sent" },
  { name: "queued", label: "Queued", colour: "queued", status: "queued" },
  { name: "unknown", label: "Outcome unknown", colour: "unknown", status: "unknown" },
  { name: "bounced", label: "Bounced", colour: "bounced", status: "bounced" },
  { name: "complained", label: "Complained", colour: "complained", status: "complained" },
  { name: "failed", label: "Failed", colour: "failed", status: "failed" },
  { name: "suppressed", label: "Suppressed", colour: "none" },
  { name: "unsubscribed", label: "Unsubscribed", colour: "none" },
];

/** Counters that visibly add up to the audience. */
export function Counters({ counts }: { counts: BroadcastCounts }) {
  const project = useThisProject();
  const sum = PARTS.reduce((total, { name }) => total + counts[name], 0);
  return (
    <>
      <div className="parts" aria-hidden>
        {PARTS.filter(({ name }) => counts[name] > 0).map(({ name, colour }) => (
          <Part
            key={name}
            share={counts.audience ? counts[name] / counts.audience : 0}
            colour={colour}
          />
        ))}
      </div>
      <table className="table counters">
        <tbody>
          {PARTS.map(({ name, label, colour, status }) => (
            <tr key={name} data-testid={`broadcast-${name}`}>
              <th scope="row">
                <span className="swatch" data-colour={colour} aria-hidden />
                {status && counts[name] > 0 ? (
                  <Link to={`/project/${project.id}/mail/logs?stream=bulk&status=${status}`}>
                    {label}
                  </Link>
                ) : (
                  label
                )}
              </th>
              <td className="num">{number(counts[name])}</td>
            </tr>
          ))}
          <tr data-testid="broadcast-audience">
            <th scope="row">
              <strong>Together</strong>
            </th>
            <td className="num">
              <strong>{number(sum)}</strong>
            </td>
          </tr>
        </tbody>
      </table>
    </>
  );
}

function Part({ share, colour }: { share: number; colour: string }) {
  return (
    <span className="part" data-colour={colour} style={{ flexGrow: Math.max(share, 0.004) }} />
  );
}
