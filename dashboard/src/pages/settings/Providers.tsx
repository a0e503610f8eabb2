import { Button } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";
import { usePatchProject } from "../../api/projects";
import { type Connection, useProviders, useRemoveProvider } from "../../api/providers";
import { useMayChange, useThisProject } from "../../shell/project";
import { Confirm } from "../../ui/Confirm";
import { Copyable } from "../../ui/Copy";
import { Failed, Loading, Notice } from "../../ui/states";
import { When } from "../../ui/When";
import { titleOf, VENDORS } from "./vendors";

export function Providers() {
  const project = useThisProject();
  const providers = useProviders(project.id);
  if (providers.isPending) return <Loading rows={4} height={120} />;
  if (providers.error)
    return <Failed error={providers.error} retry={() => void providers.refetch()} />;
  return (
    <div className="stack">
      {project.mailProvider === null && (
        <Notice title="This project sends by the server's shared account.">
          Connect a provider of your own to use your own sender, audiences and broadcasts. The
          sandbox counts.
        </Notice>
      )}
      <div className="provider-grid">
        {providers.data.map((connection) => (
          <Card key={connection.provider} connection={connection} />
        ))}
      </div>
    </div>
  );
}

function Card({ connection }: { connection: Connection }) {
  const project = useThisProject();
  const mayChange = useMayChange();
  const name = connection.provider;
  const to = `/project/${project.id}/mail/settings/providers/${name}`;
  return (
    <section
      className="panel padded provider-card"
      aria-label={titleOf(name)}
      data-testid={`provider-${name}`}
    >
      <header className="row">
        <h2 className="drawer-h2 flat">{titleOf(name)}</h2>
        <State connection={connection} />
      </header>
      <p className="dimmed small flat">{VENDORS[name]?.says}</p>
      {connection.stoppedReason && <Notice tone="error" title={connection.stoppedReason} />}
      {connection.configured && <Facts connection={connection} />}
      <div className="row">
        <Button component={Link} to={to} variant="default" size="compact-sm">
          {!connection.configured && mayChange ? "Set up" : mayChange ? "Change" : "Look"}
        </Button>
        {mayChange && connection.configured && project.mailProvider !== name && (
          <Button component={Link} to={`${to}/rehearsal`} variant="default" size="compact-sm">
            Rehearse
          </Button>
        )}
        {mayChange && connection.configured && <Uses connection={connection} />}
      </div>
    </section>
  );
}

function State({ connection }: { connection: Connection }) {
  const project = useThisProject();
  const name = connection.provider;
  if (!connection.configured) return <span className="pill">Not set up</span>;
  if (connection.stoppedAt)
    return (
      <span className="pill" data-tone="bad">
        Refused
      </span>
    );
  if (project.mailProvider === name)
    return (
      <span className="pill" data-tone="good">
        Sending
      </span>
    );
  return <span className="pill">{project.failoverProvider === name ? "Failover" : "Ready"}</span>;
}

function Facts({ connection }: { connection: Connection }) {
  return (
    <dl className="facts">
      {connection.keyHint && (
        <>
          <dt>Key</dt>
          <dd className="mono">•••• {connection.keyHint}</dd>
        </>
      )}
      {connection.keyHint && (
        <>
          <dt>Verified</dt>
          <dd>{connection.verifiedAt ? <When at={connection.verifiedAt} /> : "not tried"}</dd>
        </>
      )}
      {connection.fromEmail && (
        <>
          <dt>Sender</dt>
          <dd>{connection.fromEmail}</dd>
        </>
      )}
      {connection.webhookUrl && (
        <>
          <dt>Webhook</dt>
          <dd>
            <Copyable
              text={connection.webhookUrl}
              label={`webhook address of ${titleOf(connection.provider)}`}
            />
          </dd>
        </>
      )}
      {connection.phiAllowed && (
        <>
          <dt>Health data</dt>
          <dd>may carry it</dd>
        </>
      )}
    </dl>
  );
}

/** Which account sends, and which one takes over. */
function Uses({ connection }: { connection: Connection }) {
  const project = useThisProject();
  const patch = usePatchProject(project.id);
  const remove = useRemoveProvider(project.id);
  const [dialog, setDialog] = useState<"switch" | "remove" | null>(null);
  const name = connection.provider;
  const title = titleOf(name);
  const close = () => setDialog(null);
  return (
    <>
      {project.mailProvider !== name && (
        <Button variant="default" size="compact-sm" onClick={() => setDialog("switch")}>
          Send by {title}
        </Button>
      )}
      <Button variant="subtle" color="gray" size="compact-sm" onClick={() => setDialog("remove")}>
        Remove
      </Button>
      <Confirm
        opened={dialog === "switch"}
        title={`Send by ${title}`}
        action={`Send by ${title}`}
        danger={false}
        busy={patch.isPending}
        error={patch.error}
        onClose={close}
        onConfirm={() => patch.mutate({ mailProvider: name as never }, { onSuccess: close })}
      >
        New mails go through {title} at once. Mails already accepted finish with{" "}
        {project.mailProvider ? titleOf(project.mailProvider) : "the shared account"}.
      </Confirm>
      <Confirm
        opened={dialog === "remove"}
        title={`Remove ${title}`}
        word={project.name}
        action={`Remove ${title}`}
        busy={remove.isPending}
        error={remove.error}
        onClose={close}
        onConfirm={() => remove.mutate(name, { onSuccess: close })}
      >
        The credentials are deleted. Mails that wait for this account wait until it is set up again.
      </Confirm>
    </>
  );
}
