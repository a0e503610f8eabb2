import { Button, Modal, Select, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { NavLink, useNavigate, useParams } from "react-router";
import { type Audience, useAudiences, useCreateAudience } from "../../api/audiences";
import { contactsOpen, NeedsConnection } from "../../shell/gates";
import { useMayChange, useThisProject } from "../../shell/project";
import { Page } from "../../ui/Page";
import { Empty, Failed, Loading } from "../../ui/states";
import { number } from "../../ui/time";
import { Contacts } from "./Contacts";
import "./audiences.css";

export default function Audiences() {
  const project = useThisProject();
  if (!contactsOpen(project))
    return (
      <Page title="Audiences & Contacts" where={project.name}>
        <NeedsConnection title="Audiences need the project's own provider connection.">
          Keep the people you write to in lists, import them from a file, and let them unsubscribe.
          Add a connection (the sandbox counts) and this page opens.
        </NeedsConnection>
      </Page>
    );
  return <Open />;
}

function Open() {
  const project = useThisProject();
  const mayChange = useMayChange();
  const { audienceId } = useParams();
  const audiences = useAudiences(project.id);
  const [creating, setCreating] = useState(false);
  const chosen =
    audiences.data?.find((each) => each.id === audienceId) ??
    (audienceId ? undefined : audiences.data?.[0]);
  const create = <Button onClick={() => setCreating(true)}>New audience</Button>;
  return (
    <Page title="Audiences & Contacts" where={project.name} actions={mayChange && create}>
      {audiences.isPending && <Loading rows={6} />}
      {audiences.error && <Failed error={audiences.error} retry={() => void audiences.refetch()} />}
      {audiences.data?.length === 0 && (
        <Empty title="No audience yet.">
          <p>
            An audience is a list of people, such as the readers of a newsletter. Broadcasts go to
            an audience.
          </p>
          {mayChange && create}
        </Empty>
      )}
      {audiences.data && audiences.data.length > 0 && (
        <div className="audiences">
          <List audiences={audiences.data} chosen={chosen} />
          {chosen ? (
            <Contacts key={chosen.id} audience={chosen} />
          ) : (
            <Empty title="This audience does not exist any more." />
          )}
        </div>
      )}
      {creating && <Create onClose={() => setCreating(false)} />}
    </Page>
  );
}

function List({ audiences, chosen }: { audiences: Audience[]; chosen: Audience | undefined }) {
  const project = useThisProject();
  const navigate = useNavigate();
  const base = `/project/${project.id}/mail/audiences`;
  return (
    <>
      <nav aria-label="Audiences" className="panel audience-list">
        {audiences.map((audience) => (
          <NavLink
            key={audience.id}
            to={`${base}/${audience.id}`}
            className={`audience-link${audience.id === chosen?.id ? " active" : ""}`}
          >
            <span>{audience.name}</span>
            {audience.contacts != null && (
              <span className="dimmed small">
                {number(audience.contacts)} contacts, {number(audience.subscribed ?? 0)} subscribed
              </span>
            )}
          </NavLink>
        ))}
      </nav>
      <Select
        className="audience-choice"
        label="Audience"
        data={audiences.map((each) => ({ value: each.id ?? "", label: each.name ?? "" }))}
        value={chosen?.id ?? null}
        allowDeselect={false}
        onChange={(id) => id && void navigate(`${base}/${id}`)}
      />
    </>
  );
}

function Create({ onClose }: { onClose: () => void }) {
  const project = useThisProject();
  const navigate = useNavigate();
  const create = useCreateAudience(project.id);
  const [name, setName] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate(name.trim(), {
      onSuccess: (made) => {
        onClose();
        void navigate(`/project/${project.id}/mail/audiences/${made.id}`);
      },
    });
  };
  return (
    <Modal opened onClose={onClose} title="New audience" centered>
      <form onSubmit={submit} className="stack">
        <TextInput
          label="Name"
          required
          maxLength={200}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
          data-autofocus
        />
        {create.error && <Failed error={create.error} />}
        <Button type="submit" loading={create.isPending}>
          Make the audience
        </Button>
      </form>
    </Modal>
  );
}
