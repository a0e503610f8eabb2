import { Button, NumberInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { usePatchProject } from "../../api/projects";
import { useMayChange, useThisProject } from "../../shell/project";
import { Panel } from "../../ui/Page";
import { Failed } from "../../ui/states";

export function Retention() {
  const project = useThisProject();
  const mayChange = useMayChange();
  const patch = usePatchProject(project.id);
  const [days, setDays] = useState<number | string>(project.contentRetentionDays);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    patch.mutate(
      { contentRetentionDays: Number(days) },
      { onSuccess: () => notifications.show({ message: "Saved." }) },
    );
  };
  return (
    <Panel title="Content of mails">
      <p className="flat">
        The content of a mail is kept sealed until it is handed over. It can be kept longer, so that
        it can be read in the log; with 0 days it leaves with the hand-over. The sandbox keeps its
        mails readable either way.
      </p>
      {mayChange ? (
        <form onSubmit={submit} className="stack narrow">
          <NumberInput
            label="Days after hand-over"
            min={0}
            max={365}
            allowDecimal={false}
            value={days}
            onChange={setDays}
          />
          {patch.error && <Failed error={patch.error} />}
          <div>
            <Button type="submit" loading={patch.isPending}>
              Save
            </Button>
          </div>
        </form>
      ) : (
        <p>
          Now: <strong>{project.contentRetentionDays} days</strong>
        </p>
      )}
    </Panel>
  );
}
