import { Button, Stepper } from "@mantine/core";
import { useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";
import {
  type Broadcast,
  type BroadcastBody,
  useBroadcast,
  useSaveBroadcast,
} from "../../api/broadcasts";
import { broadcastsOpen } from "../../shell/gates";
import { useMayChange, useThisProject } from "../../shell/project";
import { Unsaved } from "../../shell/Unsaved";
import { Page } from "../../ui/Page";
import { Empty, Failed, Loading } from "../../ui/states";
import Broadcasts from "./Broadcasts";
import { ContentStep } from "./ContentStep";
import { PeopleStep } from "./PeopleStep";
import { Review } from "./Review";
import "./broadcasts.css";

export interface Draft {
  audienceId: string | null;
  name: string;
  from: string;
  replyTo: string;
  subject: string;
  html: string;
  text: string;
}

const START = `<h1>Hello {{{contact.first_name|there}}}</h1>
<p>What you want to say.</p>
<p><a href="{{{UNSUBSCRIBE_URL}}}">Unsubscribe</a></p>
`;

function draftOf(broadcast: Broadcast | undefined): Draft {
  return {
    audienceId: broadcast?.audience_id ?? null,
    name: broadcast?.name ?? "",
    from: broadcast?.from ?? "",
    replyTo: (broadcast?.reply_to ?? []).join(", "),
    subject: broadcast?.subject ?? "",
    html: broadcast?.html ?? START,
    text: broadcast?.text ?? "",
  };
}

function bodyOf(draft: Draft): BroadcastBody {
  const replyTo = draft.replyTo
    .split(",")
    .map((each) => each.trim())
    .filter(Boolean);
  return {
    audienceId: draft.audienceId,
    subject: draft.subject,
    html: draft.html,
    text: draft.text.trim() || null,
    name: draft.name.trim() || null,
    from: draft.from.trim() || null,
    replyTo,
  };
}

export default function Compose() {
  const project = useThisProject();
  const mayChange = useMayChange();
  const { broadcastId } = useParams();
  const broadcast = useBroadcast(project.id, broadcastId ?? null);
  if (!broadcastsOpen(project)) return <Broadcasts />;
  if (!mayChange)
    return (
      <Page title="New broadcast">
        <Empty title="You can look at broadcasts here, not write them." />
      </Page>
    );
  if (broadcastId && broadcast.isPending) return <Loading rows={8} />;
  if (broadcastId && broadcast.error) return <Failed error={broadcast.error} />;
  return <Steps key={broadcastId ?? "new"} start={broadcast.data} id={broadcastId ?? null} />;
}

const STEPS = ["people", "content", "review"];

function Steps({ start, id }: { start: Broadcast | undefined; id: string | null }) {
  const project = useThisProject();
  const navigate = useNavigate();
  const [search, setSearch] = useSearchParams();
  const [draft, setDraft] = useState<Draft>(() => draftOf(start));
  const [kept, setKept] = useState<Draft>(() => draftOf(start));
  const save = useSaveBroadcast(project.id);
  const asked = Math.max(0, STEPS.indexOf(search.get("step") ?? "people"));
  const step = asked === 2 && id === null ? 1 : asked;
  const dirty = JSON.stringify(draft) !== JSON.stringify(kept);
  const ready = Boolean(draft.audienceId && draft.subject.trim() && draft.html.trim());
  const change = (what: Partial<Draft>) => setDraft((now) => ({ ...now, ...what }));
  const go = (to: number) => setSearch({ step: STEPS[to]! });
  const keep = (to: number) => {
    if (!ready) return go(to);
    save.mutate(
      { id, body: bodyOf(draft) },
      {
        onSuccess: (made) => {
          setKept(draft);
          const path = `/project/${project.id}/mail/broadcasts/${made.id ?? id}/edit?step=${STEPS[to]}`;
          // Once more around, so that the guard sees what was kept.
          setTimeout(() => void navigate(path, { replace: id === null }));
        },
      },
    );
  };
  const choose = (to: number) => (to === 2 && (dirty || id === null) ? ready && keep(2) : go(to));
  return (
    <Page
      title={id === null ? "New broadcast" : draft.name || draft.subject || "Broadcast"}
      where={project.name}
    >
      <Stepper active={step} onStepClick={choose} size="sm" className="steps">
        <Stepper.Step label="Audience and sender" />
        <Stepper.Step label="Content" />
        <Stepper.Step label="Review" allowStepSelect={ready} />
      </Stepper>
      {save.error && <Failed error={save.error} />}
      {step === 0 && <PeopleStep draft={draft} onChange={change} />}
      {step === 1 && <ContentStep draft={draft} onChange={change} />}
      {step === 2 && id && <Review id={id} draft={draft} />}
      <div className="row steps-foot">
        {step > 0 && (
          <Button variant="default" onClick={() => go(step - 1)}>
            Back
          </Button>
        )}
        {ready && dirty && (
          <Button variant="default" loading={save.isPending} onClick={() => keep(step)}>
            Save the draft
          </Button>
        )}
        {step === 0 && (
          <Button disabled={!draft.audienceId} onClick={() => go(1)}>
            Next: content
          </Button>
        )}
        {step === 1 && (
          <Button disabled={!ready} loading={save.isPending} onClick={() => keep(2)}>
            Next: review
          </Button>
        )}
      </div>
      <Unsaved when={dirty && !save.isPending} />
    </Page>
  );
}
