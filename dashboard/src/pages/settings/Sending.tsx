import { Button, Radio, Select, Switch } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { type ProjectPatch, usePatchProject } from "../../api/projects";
import { useProviders } from "../../api/providers";
import { useMayChange, useThisProject } from "../../shell/project";
import { Confirm } from "../../ui/Confirm";
import { Panel } from "../../ui/Page";
import { Failed } from "../../ui/states";
import { titleOf } from "./vendors";

export function Sending() {
  const mayChange = useMayChange();
  return (
    <div className="stack">
      {mayChange ? <Choices /> : <Values />}
      <HealthData />
    </div>
  );
}

function Values() {
  const project = useThisProject();
  return (
    <Panel title="How mails are sent">
      <dl className="facts">
        <dt>Sends by</dt>
        <dd>{project.mailProvider ? titleOf(project.mailProvider) : "the shared account"}</dd>
        <dt>Takes over</dt>
        <dd>{project.failoverProvider ? titleOf(project.failoverProvider) : "nobody"}</dd>
        <dt>When the outcome is unknown</dt>
        <dd>{project.ambiguousPolicy === "park" ? "park and show it" : "send again"}</dd>
      </dl>
    </Panel>
  );
}

function Choices() {
  const project = useThisProject();
  const providers = useProviders(project.id);
  const patch = usePatchProject(project.id);
  const [sends, setSends] = useState<string | null>(project.mailProvider);
  const [failover, setFailover] = useState<string | null>(project.failoverProvider);
  const [policy, setPolicy] = useState<string>(project.ambiguousPolicy);
  const names =
    providers.data?.filter((each) => each.configured).map((each) => each.provider) ?? [];
  const data = names.map((name) => ({ value: name, label: titleOf(name) }));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const body = {
      mailProvider: sends,
      failoverProvider: failover,
      ambiguousPolicy: policy,
    } as ProjectPatch;
    patch.mutate(body, { onSuccess: () => notifications.show({ message: "Saved." }) });
  };
  return (
    <Panel title="How mails are sent">
      <form onSubmit={submit} className="stack narrow">
        <Select
          label="Sends by"
          description="Mails already accepted finish with the account they were accepted under."
          placeholder="The shared account"
          data={data}
          value={sends}
          onChange={setSends}
          clearable
          clearButtonProps={{ "aria-label": "Use the shared account" }}
        />
        <Select
          label="Takes over"
          description="When the first one throttles, cannot be reached, or refuses the account. Never when an outcome is unknown."
          placeholder="Nobody"
          data={data.filter((each) => each.value !== sends)}
          value={failover}
          onChange={setFailover}
          clearable
          clearButtonProps={{ "aria-label": "No failover" }}
        />
        <Radio.Group
          label="When the outcome of a call is unknown"
          description="The provider took the call and did not answer, and cannot be asked again safely."
          value={policy}
          onChange={setPolicy}
        >
          <div className="stack-s radio-list">
            <Radio
              value="park"
              label="Park the mail and show it"
              description="Nobody gets a mail twice; somebody decides."
            />
            <Radio
              value="resend"
              label="Send it again"
              description="Nobody is left out; somebody may get it twice."
            />
          </div>
        </Radio.Group>
        {patch.error && <Failed error={patch.error} />}
        <div>
          <Button type="submit" loading={patch.isPending}>
            Save
          </Button>
        </div>
      </form>
    </Panel>
  );
}

function HealthData() {
  const project = useThisProject();
  const mayChange = useMayChange();
  const patch = usePatchProject(project.id);
  const [asking, setAsking] = useState(false);
  const close = () => {
    setAsking(false);
    patch.reset();
  };
  return (
    <Panel title="Health data (PHI)">
      {mayChange ? (
        <Switch
          label="This project carries health data"
          description="Mails then leave only by accounts that are allowed to carry it."
          checked={project.phi}
          onChange={() => setAsking(true)}
        />
      ) : (
        <p className="flat">
          {project.phi
            ? "This project carries health data."
            : "This project carries no health data."}
        </p>
      )}
      <Confirm
        opened={asking}
        title={project.phi ? "No health data any more" : "Health data"}
        word={project.name}
        action={project.phi ? "Lift the protection" : "Protect this project"}
        danger={project.phi}
        busy={patch.isPending}
        error={patch.error}
        onClose={close}
        onConfirm={() => patch.mutate({ phi: !project.phi }, { onSuccess: close })}
      >
        {project.phi ? (
          "Mails may then leave by accounts without an agreement about health data."
        ) : (
          <>
            From then on:
            <ul className="forbids">
              <li>Resend and the sandbox's shared account are refused.</li>
              <li>Failover goes only to accounts that may carry health data.</li>
              <li>
                Subjects and recipients are kept sealed, so the log cannot be searched by subject.
              </li>
              <li>Reading a mail's content is written down.</li>
            </ul>
          </>
        )}
      </Confirm>
    </Panel>
  );
}
