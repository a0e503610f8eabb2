import { Button, Radio, Select, TextInput } from "@mantine/core";
import { Check, CircleAlert } from "lucide-react";
import { type FormEvent, useState } from "react";
import { useNavigate } from "react-router";
import { useMe } from "../../api/account";
import { useContacts } from "../../api/audiences";
import {
  useBroadcastPreview,
  useReach,
  useSendBroadcast,
  useTestBroadcast,
} from "../../api/broadcasts";
import { asProblem } from "../../api/errors";
import { usePulse } from "../../api/overview";
import { useThisProject } from "../../shell/project";
import { MailFrame } from "../../ui/MailFrame";
import { forField, MomentInput } from "../../ui/Moment";
import { Panel } from "../../ui/Page";
import { Failed, Loading, Notice } from "../../ui/states";
import { number } from "../../ui/time";
import type { Draft } from "./Compose";

const MANY = 100;

export function Review({ id, draft }: { id: string; draft: Draft }) {
  const project = useThisProject();
  const reach = useReach(project.id, id);
  const pulse = usePulse(project.id);
  const [tested, setTested] = useState(false);
  const quota = pulse.data?.quota;
  const left = quota
    ? quota.limit < 0
      ? Number.POSITIVE_INFINITY
      : quota.limit - quota.used
    : null;
  const people = reach.data?.recipients ?? null;
  return (
    <div className="two-wide">
      <div className="stack">
        <Panel title="Who gets it">
          {reach.isPending && <Loading rows={1} />}
          {reach.error && <Failed error={reach.error} retry={() => void reach.refetch()} />}
          {reach.data && (
            <p className="flat" data-testid="reach">
              {number(reach.data.audience)} contacts − {number(reach.data.unsubscribed)}{" "}
              unsubscribed − {number(reach.data.suppressed)} suppressed ={" "}
              <strong>{number(reach.data.recipients)} people</strong>
            </p>
          )}
          {left !== null && people !== null && Number.isFinite(left) && (
            <p className="dimmed flat">
              Quota: {number(left)} left, {number(people)} needed
            </p>
          )}
        </Panel>
        <Panel title="Checks">
          <Checks id={id} draft={draft} people={people} left={left} tested={tested} />
        </Panel>
        <TestPanel id={id} onTested={() => setTested(true)} />
        {people !== null && people > 0 && (
          <SendPanel id={id} people={people} onMoved={() => void reach.refetch()} />
        )}
      </div>
      <AsSomebody id={id} draft={draft} />
    </div>
  );
}

interface ChecksProps {
  id: string;
  draft: Draft;
  people: number | null;
  left: number | null;
  tested: boolean;
}

function Checks({ id, draft, people, left, tested }: ChecksProps) {
  const project = useThisProject();
  const preview = useBroadcastPreview(project.id, id, null);
  const unfilled = /\{\{/.test(`${preview.data?.html ?? ""}${preview.data?.subject ?? ""}`);
  const checks: [boolean, string, string][] = [
    [
      people !== 0,
      "The audience has people to write to",
      "Nobody in this audience can be written to",
    ],
    [
      preview.data?.unsubscribe_link ?? true,
      "The mail itself offers an unsubscribe link",
      "The mail offers no unsubscribe link; the header still does",
    ],
    [!unfilled, "Nothing is left unfilled", "A {{…}} is left unfilled: look at the preview"],
    [
      draft.subject.length <= 60,
      "The subject is short enough for a phone",
      "The subject is over 60 characters",
    ],
    [
      left === null || people === null || people <= left,
      "The quota is large enough",
      "The quota is too short: it will pause when it is used up",
    ],
    [tested, "A test was sent", "No test was sent from this page yet"],
  ];
  return (
    <ul className="plain stack-s">
      {checks.map(([good, yes, no]) => (
        <li key={yes} className="check" data-good={good}>
          {good ? <Check size={15} aria-hidden /> : <CircleAlert size={15} aria-hidden />}
          <span>{good ? yes : no}</span>
        </li>
      ))}
    </ul>
  );
}

function TestPanel({ id, onTested }: { id: string; onTested: () => void }) {
  const project = useThisProject();
  const me = useMe();
  const test = useTestBroadcast(project.id, id);
  const [to, setTo] = useState("");
  const address =
    to || (project.mailProvider === "sandbox" ? "delivered@example.com" : (me.data?.email ?? ""));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const list = address
      .split(",")
      .map((each) => each.trim())
      .filter(Boolean);
    test.mutate(list, { onSuccess: onTested });
  };
  return (
    <Panel title="Test send">
      <form onSubmit={submit} className="row">
        <TextInput
          aria-label="Test to"
          className="wide-field"
          value={address}
          onChange={(event) => setTo(event.currentTarget.value)}
        />
        <Button type="submit" variant="default" loading={test.isPending}>
          Send a test
        </Button>
      </form>
      {test.isSuccess && <Notice tone="done" title={`Test accepted for ${address}.`} />}
      {test.error && <Failed error={test.error} />}
    </Panel>
  );
}

function SendPanel({ id, people, onMoved }: { id: string; people: number; onMoved: () => void }) {
  const project = useThisProject();
  const navigate = useNavigate();
  const send = useSendBroadcast(project.id, id);
  const [when, setWhen] = useState("now");
  const [at, setAt] = useState(() => forField(new Date(Date.now() + 3_600_000)));
  const [typed, setTyped] = useState("");
  const many = people > MANY;
  const ready = !many || typed.replace(/[^0-9]/g, "") === String(people);
  const words = people === 1 ? "1 person" : `${number(people)} people`;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!ready) return;
    send.mutate(
      { expected: people, scheduledAt: when === "later" ? new Date(at).toISOString() : undefined },
      {
        onSuccess: () => void navigate(`/project/${project.id}/mail/broadcasts/${id}`),
        onError: (error) => {
          if (asProblem(error).code !== "audience_changed") return;
          setTyped("");
          onMoved();
        },
      },
    );
  };
  return (
    <Panel title="Send">
      <form onSubmit={submit} className="stack narrow">
        <Radio.Group label="When" value={when} onChange={setWhen}>
          <div className="row radio-list">
            <Radio value="now" label="Now" />
            <Radio value="later" label="Later" />
          </div>
        </Radio.Group>
        {when === "later" && <MomentInput label="At" value={at} onChange={setAt} />}
        {many && (
          <TextInput
            label={`Type ${people} to confirm`}
            inputMode="numeric"
            autoComplete="off"
            value={typed}
            onChange={(event) => setTyped(event.currentTarget.value)}
          />
        )}
        {send.error && <Failed error={send.error} />}
        <div>
          <Button type="submit" size="md" disabled={!ready} loading={send.isPending}>
            {when === "later" ? `Schedule for ${words}` : `Send to ${words}`}
          </Button>
        </div>
      </form>
    </Panel>
  );
}

/** The mail as one person gets it. */
function AsSomebody({ id, draft }: { id: string; draft: Draft }) {
  const project = useThisProject();
  const [contact, setContact] = useState<string | null>(null);
  const contacts = useContacts(project.id, draft.audienceId ?? "", "", 50);
  const preview = useBroadcastPreview(project.id, id, contact);
  const people = contacts.data?.pages[0]?.data ?? [];
  return (
    <section className="stack-s" aria-label="Preview">
      <Select
        label="As it is for"
        placeholder={preview.data?.to ?? "the first contact"}
        searchable
        clearable
        clearButtonProps={{ "aria-label": "Show it for the first contact" }}
        data={people.map((each) => ({ value: each.id ?? "", label: each.email ?? "" }))}
        value={contact}
        onChange={setContact}
      />
      {preview.error && <Failed error={preview.error} />}
      {preview.data && (
        <>
          <dl className="facts">
            <dt>From</dt>
            <dd>{preview.data.from}</dd>
            <dt>To</dt>
            <dd>{preview.data.to}</dd>
            <dt>Subject</dt>
            <dd>
              <strong>{preview.data.subject}</strong>
            </dd>
          </dl>
          <MailFrame html={preview.data.html} title="Preview for one person" />
        </>
      )}
    </section>
  );
}
