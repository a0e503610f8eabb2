import { Button, Checkbox } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";
import { usePatchProject } from "../../api/projects";
import { type Rehearsal as Found, useRehearsal } from "../../api/rehearsals";
import { useMayChange, useThisProject } from "../../shell/project";
import { Panel } from "../../ui/Page";
import { Empty, Failed, Loading, Notice } from "../../ui/states";
import { number } from "../../ui/time";
import { titleOf } from "./vendors";

/** A move to another provider, tried on the last mails without sending one. */
export function Rehearsal({ name }: { name: string }) {
  const mayChange = useMayChange();
  if (!mayChange) return <Empty title="Owners and admins can rehearse a move." />;
  return <Tried name={name} />;
}

function Tried({ name }: { name: string }) {
  const project = useThisProject();
  const rehearsal = useRehearsal(project.id, name);
  if (rehearsal.isPending) return <Loading rows={8} />;
  if (rehearsal.error)
    return <Failed error={rehearsal.error} retry={() => void rehearsal.refetch()} />;
  return <Report found={rehearsal.data} onAgain={() => void rehearsal.refetch()} />;
}

function Report({ found, onAgain }: { found: Found; onAgain: () => void }) {
  const title = titleOf(found.provider);
  const refused = found.refused.reduce((sum, each) => sum + each.mails, 0);
  return (
    <div className="stack" data-testid="rehearsal">
      <Notice
        tone={refused ? "warning" : "done"}
        title={
          found.mails === 0
            ? `No mail yet to try against ${title}.`
            : `${number(found.mails)} recent mails against ${title}: ${number(found.carried)} fit, ${number(refused)} refused.`
        }
      >
        {found.wholeMails < found.mails &&
          `The content of ${number(found.wholeMails)} of them is kept; of the others, recipients and sizes were tried.`}
      </Notice>
      {found.refused.length > 0 && <Refused found={found} />}
      {found.lost.length > 0 && (
        <Panel title="What gets lost">
          <ul className="flat">
            {found.lost.map((loss) => (
              <li key={loss.what}>
                <strong>{loss.what}</strong> {loss.detail}
                {loss.mails !== null && (
                  <span className="dimmed"> · {number(loss.mails)} of these mails</span>
                )}
              </li>
            ))}
          </ul>
        </Panel>
      )}
      <Move found={found} title={title} onAgain={onAgain} />
    </div>
  );
}

function Refused({ found }: { found: Found }) {
  const project = useThisProject();
  return (
    <Panel title="What would be refused">
      <ul className="flat">
        {found.refused.map((each) => (
          <li key={each.reason}>
            {each.reason} <span className="dimmed">· {number(each.mails)} mails, such as </span>
            {each.examples.map((id, index) => (
              <span key={id}>
                {index > 0 && ", "}
                <Link to={`/project/${project.id}/mail/logs?mail=${id}`}>mail {index + 1}</Link>
              </span>
            ))}
          </li>
        ))}
      </ul>
    </Panel>
  );
}

/** The checklist, ticked where we can see for ourselves, and then the switch. */
function Move({ found, title, onAgain }: { found: Found; title: string; onAgain: () => void }) {
  const project = useThisProject();
  const patch = usePatchProject(project.id);
  const [before] = useState(project.mailProvider);
  const [ticked, setTicked] = useState<Set<string>>(new Set());
  const blocking = found.checklist.filter((step) => step.done === false);
  const sends = project.mailProvider === found.provider;
  const send = (provider: string | null) => patch.mutate({ mailProvider: provider as never });
  return (
    <Panel
      title={`Before ${title} sends`}
      aside={
        <Button size="compact-sm" variant="default" onClick={onAgain}>
          Look again
        </Button>
      }
    >
      <ul className="plain stack-s">
        {found.checklist.map((step) => (
          <li key={step.key}>
            <Checkbox
              label={step.title}
              description={step.detail}
              checked={step.done ?? ticked.has(step.key)}
              disabled={step.done !== null}
              onChange={(event) => {
                const next = new Set(ticked);
                if (event.currentTarget.checked) next.add(step.key);
                else next.delete(step.key);
                setTicked(next);
              }}
            />
          </li>
        ))}
      </ul>
      <div className="stack-s move">
        {patch.error && <Failed error={patch.error} />}
        {sends ? (
          <Notice tone="done" title={`New mails go through ${title}.`}>
            Mails already accepted finish with the account they were accepted under.
          </Notice>
        ) : (
          blocking.length > 0 && (
            <p className="dimmed flat">
              Not seen yet: {blocking.map((step) => step.title).join(" · ")}
            </p>
          )
        )}
        <div className="row">
          {!sends && (
            <Button loading={patch.isPending} onClick={() => send(found.provider)}>
              Send by {title}
            </Button>
          )}
          {sends && before !== found.provider && (
            <Button variant="default" loading={patch.isPending} onClick={() => send(before)}>
              Switch back
            </Button>
          )}
        </div>
      </div>
    </Panel>
  );
}
