import { Button } from "@mantine/core";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { useAudiences } from "../../api/audiences";
import {
  type Broadcast as Sent,
  type Step,
  useBroadcast,
  useDeleteBroadcast,
  useSaveBroadcast,
  useStep,
} from "../../api/broadcasts";
import { useMayChange, useThisProject } from "../../shell/project";
import { Confirm } from "../../ui/Confirm";
import { Page, Panel } from "../../ui/Page";
import { Failed, Loading, Notice } from "../../ui/states";
import { number } from "../../ui/time";
import { Exact } from "../../ui/When";
import { Counters } from "./Counters";
import { PAUSES, State } from "./State";
import "./broadcasts.css";

export default function Broadcast() {
  const project = useThisProject();
  const { broadcastId = "" } = useParams();
  const broadcast = useBroadcast(project.id, broadcastId);
  if (broadcast.isPending)
    return (
      <Page title="Broadcast" where={project.name}>
        <Loading rows={6} />
      </Page>
    );
  if (broadcast.error)
    return (
      <Page title="Broadcast" where={project.name}>
        <Failed error={broadcast.error} retry={() => void broadcast.refetch()} />
      </Page>
    );
  return <Report broadcast={broadcast.data} />;
}

function Report({ broadcast }: { broadcast: Sent }) {
  const project = useThisProject();
  const mayChange = useMayChange();
  const audiences = useAudiences(project.id);
  const audience = audiences.data?.find((each) => each.id === broadcast.audience_id)?.name;
  return (
    <Page
      title={broadcast.name || broadcast.subject || "Broadcast"}
      where={project.name}
      actions={
        <>
          <State broadcast={broadcast} />
          {mayChange && <Steps broadcast={broadcast} />}
        </>
      }
    >
      <div className="stack">
        {broadcast.status === "paused" && (
          <Notice tone="warning" title="Paused.">
            {PAUSES[broadcast.pause_reason ?? ""] ?? broadcast.pause_reason}
          </Notice>
        )}
        {broadcast.counts && (
          <Panel title={`${number(broadcast.counts.audience)} people`}>
            <Counters counts={broadcast.counts} />
          </Panel>
        )}
        <Panel title="Broadcast">
          <dl className="facts">
            <dt>Subject</dt>
            <dd>{broadcast.subject}</dd>
            <dt>Audience</dt>
            <dd>{audience ?? broadcast.audience_id}</dd>
            <dt>From</dt>
            <dd>{broadcast.from ?? "–"}</dd>
            {broadcast.scheduled_at && (
              <>
                <dt>Scheduled for</dt>
                <dd>
                  <Exact at={broadcast.scheduled_at} />
                </dd>
              </>
            )}
            <dt>Started</dt>
            <dd>
              <Exact at={broadcast.sent_at} />
            </dd>
            <dt>Finished</dt>
            <dd>
              <Exact at={broadcast.finished_at} />
            </dd>
          </dl>
        </Panel>
      </div>
    </Page>
  );
}

function Steps({ broadcast }: { broadcast: Sent }) {
  const project = useThisProject();
  const navigate = useNavigate();
  const id = broadcast.id!;
  const step = useStep(project.id, id);
  const save = useSaveBroadcast(project.id);
  const remove = useDeleteBroadcast(project.id);
  const [asking, setAsking] = useState<"cancel" | "resend-failed" | "delete" | null>(null);
  const counts = broadcast.counts;
  const handed = counts
    ? counts.audience - counts.queued - counts.suppressed - counts.unsubscribed
    : 0;
  const running = broadcast.status === "queued" || broadcast.status === "sending";
  const base = `/project/${project.id}/mail/broadcasts`;
  const take = (what: Step) => step.mutate(what, { onSuccess: () => setAsking(null) });
  const duplicate = () =>
    save.mutate(
      {
        id: null,
        body: {
          audienceId: broadcast.audience_id,
          subject: broadcast.subject,
          html: broadcast.html,
          text: broadcast.text,
          name: broadcast.name ? `${broadcast.name} copy` : null,
          from: broadcast.from,
        },
      },
      { onSuccess: (made) => void navigate(`${base}/${made.id}/edit`) },
    );
  return (
    <>
      {running && (
        <Button variant="default" loading={step.isPending} onClick={() => take("pause")}>
          Pause
        </Button>
      )}
      {broadcast.status === "paused" && (
        <Button loading={step.isPending} onClick={() => take("resume")}>
          Resume
        </Button>
      )}
      {(running || broadcast.status === "paused" || broadcast.status === "scheduled") && (
        <Button variant="default" onClick={() => setAsking("cancel")}>
          Cancel…
        </Button>
      )}
      {broadcast.status === "draft" && (
        <>
          <Button variant="default" onClick={() => setAsking("delete")}>
            Delete
          </Button>
          <Button component={Link} to={`${base}/${id}/edit`}>
            Go on writing
          </Button>
        </>
      )}
      {broadcast.status === "sent" && counts && counts.failed > 0 && (
        <Button variant="default" onClick={() => setAsking("resend-failed")}>
          Send to the {number(counts.failed)} that failed
        </Button>
      )}
      {broadcast.html && broadcast.status !== "draft" && (
        <Button variant="default" loading={save.isPending} onClick={duplicate}>
          Duplicate
        </Button>
      )}
      <Confirm
        opened={asking === "cancel"}
        title="Cancel the broadcast"
        action="Cancel the broadcast"
        busy={step.isPending}
        error={step.error}
        onClose={() => setAsking(null)}
        onConfirm={() => take("cancel")}
      >
        {broadcast.status === "scheduled"
          ? "It becomes a draft again; nothing was sent."
          : `Mails already handed over cannot be called back: ${number(handed)} of ${number(counts?.audience ?? 0)}.`}
      </Confirm>
      <Confirm
        opened={asking === "resend-failed"}
        title="Send again"
        action={`Send to ${number(counts?.failed ?? 0)} people again`}
        danger={false}
        busy={step.isPending}
        error={step.error}
        onClose={() => setAsking(null)}
        onConfirm={() => take("resend-failed")}
      >
        Those whose mail failed get a new one, a slot of the quota each. Everybody else is left
        alone.
      </Confirm>
      <Confirm
        opened={asking === "delete"}
        title="Delete the draft"
        action="Delete the draft"
        busy={remove.isPending}
        error={remove.error}
        onClose={() => setAsking(null)}
        onConfirm={() => remove.mutate(id, { onSuccess: () => void navigate(base) })}
      >
        It was not sent to anybody.
      </Confirm>
    </>
  );
}
