import { Button, Checkbox, Modal, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { Link, useNavigate } from "react-router";
import { type FreshProject, type Project, useCreateProject, useProjects } from "../api/projects";
import { AccountMenu } from "../shell/AccountMenu";
import { Brand } from "../shell/Brand";
import "../shell/shell.css";
import { Code, Copyable } from "../ui/Copy";
import { curlFor } from "../ui/curl";
import { Page } from "../ui/Page";
import { Empty, Failed, Loading } from "../ui/states";
import { When } from "../ui/When";

export default function Projects() {
  const projects = useProjects();
  const [creating, setCreating] = useState(false);
  const [fresh, setFresh] = useState<FreshProject | null>(null);
  return (
    <>
      <header className="bar bar-alone">
        <Brand />
        <span className="grow" />
        <AccountMenu />
      </header>
      <main className="page">
        <Page
          title="Projects"
          actions={<Button onClick={() => setCreating(true)}>New project</Button>}
        >
          {projects.isPending && <Loading rows={3} height={80} />}
          {projects.error && (
            <Failed error={projects.error} retry={() => void projects.refetch()} />
          )}
          {projects.data?.length === 0 && (
            <Empty title="No project yet.">
              <p>
                A project has its own keys, provider, templates and log. Make one for each
                application.
              </p>
              <Button onClick={() => setCreating(true)}>New project</Button>
            </Empty>
          )}
          <ul className="cards">
            {projects.data?.map((project) => (
              <Card key={project.id} project={project} />
            ))}
          </ul>
        </Page>
      </main>
      <Create
        opened={creating}
        onClose={() => setCreating(false)}
        onMade={(made) => {
          setCreating(false);
          setFresh(made);
        }}
      />
      {fresh && <Keys fresh={fresh} />}
    </>
  );
}

function Card({ project }: { project: Project }) {
  return (
    <li className="panel">
      <Link to={`/project/${project.id}/mail/logs`} className="card">
        <strong>{project.name}</strong>
        <span className="row">
          <span className="pill">{project.role}</span>
          <span className="pill" data-tone="ink">
            {project.mailProvider ?? "shared account"}
          </span>
          <span className="pill">{project.plan}</span>
        </span>
        <span className="dimmed small">
          Made <When at={project.createdAt} />
        </span>
      </Link>
    </li>
  );
}

interface CreateProps {
  opened: boolean;
  onClose: () => void;
  onMade: (fresh: FreshProject) => void;
}

function Create({ opened, onClose, onMade }: CreateProps) {
  const [name, setName] = useState("");
  const create = useCreateProject();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate(name, { onSuccess: onMade });
  };
  return (
    <Modal opened={opened} onClose={onClose} title="New project" centered>
      <form onSubmit={submit} className="stack">
        <TextInput
          label="Name"
          description="For people: the application whose mails these are."
          required
          maxLength={100}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
          data-autofocus
        />
        {create.error && <Failed error={create.error} />}
        <Button type="submit" loading={create.isPending}>
          Make the project
        </Button>
      </form>
    </Modal>
  );
}

/** Both keys, once. It cannot be closed by accident. */
function Keys({ fresh }: { fresh: FreshProject }) {
  const [stored, setStored] = useState(false);
  const navigate = useNavigate();
  const env = [
    `POSTROOM_URL=${location.origin}`,
    `POSTROOM_SECRET_KEY=${fresh.secretKey}`,
    `POSTROOM_PUBLISHABLE_KEY=${fresh.publishableKey}`,
  ].join("\n");
  return (
    <Modal
      opened
      onClose={() => undefined}
      withCloseButton={false}
      closeOnEscape={false}
      closeOnClickOutside={false}
      title={`Keys of ${fresh.project.name}`}
      size="xl"
      centered
    >
      <div className="stack">
        <p className="flat">The secret key is shown here once and never again.</p>
        <dl className="facts">
          <dt>Secret key</dt>
          <dd>
            <Copyable text={fresh.secretKey} label="secret key" />
          </dd>
          <dt>Publishable key</dt>
          <dd>
            <Copyable text={fresh.publishableKey} label="publishable key" />
          </dd>
        </dl>
        <Code text={env} label="environment file" />
        <Code text={curlFor(fresh.secretKey)} label="first mail" />
        <Checkbox
          label="I have stored the secret key"
          checked={stored}
          onChange={(event) => setStored(event.currentTarget.checked)}
        />
        <Button
          disabled={!stored}
          onClick={() => navigate(`/project/${fresh.project.id}/mail/logs`)}
        >
          Open the project
        </Button>
      </div>
    </Modal>
  );
}
