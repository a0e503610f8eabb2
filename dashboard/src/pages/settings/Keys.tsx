import { Button } from "@mantine/core";
import { useState } from "react";
import { type KeyKind, useRotateKey } from "../../api/projects";
import { useMayChange, useThisProject } from "../../shell/project";
import { Confirm } from "../../ui/Confirm";
import { Code, Copyable } from "../../ui/Copy";
import { curlFor } from "../../ui/curl";
import { Panel } from "../../ui/Page";
import { Notice } from "../../ui/states";

const KINDS: { kind: KeyKind; title: string; says: string }[] = [
  {
    kind: "secret",
    title: "Secret key",
    says: "For servers: sends mails and reads the log. It starts with sk_live_ and is kept as a hash; nobody can show it again.",
  },
  {
    kind: "publishable",
    title: "Publishable key",
    says: "It starts with pk_live_ and may not use the mail routes.",
  },
];

export function Keys() {
  return (
    <div className="stack">
      {KINDS.map((each) => (
        <Key key={each.kind} {...each} />
      ))}
      <Panel title="Use">
        <Code text={curlFor("sk_live_…")} label="first mail" />
      </Panel>
    </div>
  );
}

function Key({ kind, title, says }: (typeof KINDS)[number]) {
  const project = useThisProject();
  const mayChange = useMayChange();
  const rotate = useRotateKey(project.id);
  const [asking, setAsking] = useState(false);
  return (
    <Panel title={title}>
      <p className="flat">{says}</p>
      {rotate.data && (
        <Notice tone="done" title="The new key, shown this once. The old one has stopped.">
          <Copyable text={rotate.data.apiKey} label={`new ${kind} key`} />
        </Notice>
      )}
      {mayChange && (
        <p>
          <Button variant="default" onClick={() => setAsking(true)}>
            Replace the {kind} key
          </Button>
        </p>
      )}
      <Confirm
        opened={asking}
        title={`Replace the ${kind} key`}
        word={project.name}
        action="Replace the key"
        busy={rotate.isPending}
        error={rotate.error}
        onClose={() => setAsking(false)}
        onConfirm={() => rotate.mutate(kind, { onSuccess: () => setAsking(false) })}
      >
        The old key stops working at once, everywhere. Applications that use it are refused until
        they have the new one.
      </Confirm>
    </Panel>
  );
}
