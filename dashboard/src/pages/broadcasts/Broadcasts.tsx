import { Button, Progress } from "@mantine/core";
import { Link } from "react-router";
import { useAudiences } from "../../api/audiences";
import { type Broadcast, useBroadcasts } from "../../api/broadcasts";
import { broadcastsOpen, contactsOpen, NeedsConnection, NeedsPlan } from "../../shell/gates";
import { useMayChange, useThisProject } from "../../shell/project";
import { Page } from "../../ui/Page";
import { Empty, Failed, Loading } from "../../ui/states";
import { number } from "../../ui/time";
import { When } from "../../ui/When";
import { State } from "./State";
import "./broadcasts.css";

export default function Broadcasts() {
  const project = useThisProject();
  if (broadcastsOpen(project)) return <Open />;
  return (
    <Page title="Marketing Broadcasts" where={project.name}>
      {contactsOpen(project) ? (
        <NeedsPlan />
      ) : (
        <NeedsConnection title="Broadcasts need the project's own provider connection, and the pro plan.">
          One mail to a whole audience, with progress, pause and a report. Add a connection (the
          sandbox counts) first.
        </NeedsConnection>
      )}
    </Page>
  );
}

function Open() {
  const project = useThisProject();
  const mayChange = useMayChange();
  const list = useBroadcasts(project.id);
  const audiences = useAudiences(project.id);
  const names = new Map(audiences.data?.map((each) => [each.id, each.name]));
  const make = (
    <Button component={Link} to={`/project/${project.id}/mail/broadcasts/new`}>
      New broadcast
    </Button>
  );
  return (
    <Page title="Marketing Broadcasts" where={project.name} actions={mayChange && make}>
      {list.isPending && <Loading rows={6} />}
      {list.error && <Failed error={list.error} retry={() => void list.refetch()} />}
      {list.data?.length === 0 && (
        <Empty title="No broadcast yet.">
          <p>
            A broadcast is one mail to everybody of an audience who is subscribed. It is tried
            first, counted, and can be paused while it goes out.
          </p>
          {mayChange && make}
        </Empty>
      )}
      {list.data && list.data.length > 0 && (
        <div className="panel">
          <table className="table stacked">
            <thead>
              <tr>
                <th scope="col">Status</th>
                <th scope="col">Broadcast</th>
                <th scope="col">Audience</th>
                <th scope="col">Progress</th>
                <th scope="col" className="num">
                  When
                </th>
              </tr>
            </thead>
            <tbody>
              {list.data.map((each) => (
                <Row
                  key={each.id}
                  broadcast={each}
                  audience={names.get(each.audience_id ?? "") ?? "–"}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Page>
  );
}

function Row({ broadcast, audience }: { broadcast: Broadcast; audience: string }) {
  const project = useThisProject();
  const base = `/project/${project.id}/mail/broadcasts/${broadcast.id}`;
  const progress = broadcast.progress;
  return (
    <tr data-testid="broadcast-row">
      <td>
        <State broadcast={broadcast} />
      </td>
      <td>
        <Link to={broadcast.status === "draft" ? `${base}/edit` : base}>
          {broadcast.name || broadcast.subject}
        </Link>
        {broadcast.name && <div className="dimmed small">{broadcast.subject}</div>}
      </td>
      <td>{audience}</td>
      <td>
        {progress && progress.total > 0 ? (
          <>
            <Progress
              value={(100 * progress.done) / progress.total}
              size="sm"
              aria-label={`Progress of ${broadcast.subject}`}
            />
            <span className="small dimmed">
              {number(progress.done)} of {number(progress.total)}
            </span>
          </>
        ) : (
          <span className="dimmed">–</span>
        )}
      </td>
      <td className="num">
        <When at={broadcast.scheduled_at ?? broadcast.sent_at ?? broadcast.created_at} />
      </td>
    </tr>
  );
}
