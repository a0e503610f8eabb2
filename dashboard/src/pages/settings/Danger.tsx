import { Button, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { useNavigate } from "react-router";
import { useDeleteProject, usePatchProject } from "../../api/projects";
import { useMayChange, useThisProject } from "../../shell/project";
import { Confirm } from "../../ui/Confirm";
import { Panel } from "../../ui/Page";
import { Failed } from "../../ui/states";

export function Danger() {
  const project = useThisProject();
  const mayChange = useMayChange();
  return (
    <div className="stack">
      {mayChange && <Rename />}
      {project.role === "owner" ? (
        <Delete />
      ) : (
        <Panel title="Delete the project">
          <p className="flat">Only an owner can delete the project.</p>
        </Panel>
      )}
    </div>
  );
}

function Rename() {
  const project = useThisProject();
  const patch = usePatchProject(project.id);
  const [name, setName] = useState(project.name);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    patch.mutate({ name }, { onSuccess: () => notifications.show({ message: "Renamed." }) });
  };
  return (
    <Panel title="Name">
      <form onSubmit={submit} className="stack narrow">
        <TextInput
          label="Name of the project"
          required
          maxLength={100}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        {patch.error && <Failed error={patch.error} />}
        <div>
          <Button type="submit" variant="default" loading={patch.isPending}>
            Rename
          </Button>
        </div>
      </form>
    </Panel>
  );
}

function Delete() {
  const project = useThisProject();
  const remove = useDeleteProject(project.id);
  const navigate = useNavigate();
  const [asking, setAsking] = useState(false);
  return (
    <Panel title="Delete the project">
      <p className="flat">
        Its keys stop at once, what is queued is canceled and refunded, and its log, templates,
        audiences and credentials are deleted.
      </p>
      <p>
        <Button color="red.8" onClick={() => setAsking(true)}>
          Delete the project
        </Button>
      </p>
      <Confirm
        opened={asking}
        title={`Delete ${project.name}`}
        word={project.name}
        action="Delete the project for good"
        busy={remove.isPending}
        error={remove.error}
        onClose={() => setAsking(false)}
        onConfirm={() => remove.mutate(undefined, { onSuccess: () => void navigate("/projects") })}
      >
        This cannot be undone. Mails already handed over are not called back.
      </Confirm>
    </Panel>
  );
}
