import { Button, Progress } from "@mantine/core";
import { Link, useParams } from "react-router";
import { importEnded, type Import as Job, useImport } from "../../api/imports";
import { useThisProject } from "../../shell/project";
import { asCsv, download } from "../../ui/csv";
import { Page, Panel } from "../../ui/Page";
import { Failed, Loading, Notice } from "../../ui/states";
import { number } from "../../ui/time";
import "./audiences.css";

export default function Import() {
  const project = useThisProject();
  const { audienceId = "", importId = "" } = useParams();
  const job = useImport(project.id, audienceId, importId);
  const back = `/project/${project.id}/mail/audiences/${audienceId}`;
  return (
    <Page
      title="Import"
      where={project.name}
      actions={
        <Button component={Link} to={back} variant="default">
          To the contacts
        </Button>
      }
    >
      {job.isPending && <Loading rows={4} />}
      {job.error && <Failed error={job.error} retry={() => void job.refetch()} />}
      {job.data && <Shown job={job.data} />}
    </Page>
  );
}

const COUNTERS = [
  ["created", "New"],
  ["updated", "Updated"],
  ["skipped", "Left as they were"],
  ["failed", "Refused"],
] as const;

function Shown({ job }: { job: Job }) {
  const counts = job.counts;
  const done = importEnded(job);
  const finished = counts ? counts.created + counts.updated + counts.skipped + counts.failed : 0;
  const total = job.rows ?? counts?.total ?? 0;
  return (
    <div className="stack">
      {done ? (
        <Notice
          tone={job.status === "completed" ? "done" : "error"}
          title={
            job.status === "completed"
              ? `${number(finished)} rows imported.`
              : "The import has failed."
          }
        />
      ) : (
        <Panel title={`Importing, ${number(finished)} of ${number(total)} rows`}>
          <Progress value={total ? (100 * finished) / total : 0} aria-label="Rows imported" />
          {job.rows_per_second != null && (
            <p className="dimmed small">{number(Math.round(job.rows_per_second))} rows a second</p>
          )}
        </Panel>
      )}
      <div className="tile-grid">
        {COUNTERS.map(([name, label]) => (
          <div key={name} className="panel tile" data-testid={`import-${name}`}>
            <span className="small dimmed">{label}</span>
            <span className="figure">{number(counts?.[name] ?? 0)}</span>
          </div>
        ))}
      </div>
      {job.refused && job.refused.length > 0 && (
        <Refused rows={job.refused} all={counts?.failed ?? 0} />
      )}
    </div>
  );
}

type Row = NonNullable<Job["refused"]>[number];

function Refused({ rows, all }: { rows: Row[]; all: number }) {
  const get = () =>
    download(
      "refused.csv",
      asCsv<Row>(
        [
          ["line", (row) => String(row.line)],
          ["value", (row) => row.value],
          ["reason", (row) => row.reason],
        ],
        rows,
      ),
    );
  return (
    <Panel
      title="Refused rows"
      aside={
        <Button size="compact-sm" variant="default" onClick={get}>
          Download refused rows
        </Button>
      }
    >
      {all > rows.length && (
        <p className="dimmed flat">
          The first {number(rows.length)} of {number(all)}.
        </p>
      )}
      <table className="table stacked">
        <thead>
          <tr>
            <th scope="col">Line</th>
            <th scope="col">Value</th>
            <th scope="col">Reason</th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, 200).map((row) => (
            <tr key={row.line}>
              <td>{row.line}</td>
              <td>
                <code>{row.value}</code>
              </td>
              <td>{row.reason}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}
