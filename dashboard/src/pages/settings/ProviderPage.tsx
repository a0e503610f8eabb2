import {
  Button,
  NumberInput,
  PasswordInput,
  Select,
  Switch,
  Textarea,
  TextInput,
} from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { useNavigate } from "react-router";
import { asProblem } from "../../api/errors";
import { type Connection, useProviders, usePutProvider } from "../../api/providers";
import { useMayChange, useThisProject } from "../../shell/project";
import { Copyable } from "../../ui/Copy";
import { Panel } from "../../ui/Page";
import { Empty, Failed, Loading } from "../../ui/states";
import { type FieldSpec, titleOf, VENDORS } from "./vendors";

export function ProviderPage({ name }: { name: string }) {
  const project = useThisProject();
  const providers = useProviders(project.id);
  const mayChange = useMayChange();
  if (providers.isPending) return <Loading rows={6} />;
  if (providers.error) return <Failed error={providers.error} />;
  const connection = providers.data.find((each) => each.provider === name);
  if (!connection) return <Empty title="There is no such provider here." />;
  return (
    <div className="stack">
      <Panel title={titleOf(name)}>
        {mayChange ? (
          <Form connection={connection} />
        ) : (
          <p>Only owners and admins can change this.</p>
        )}
      </Panel>
      {connection.webhookUrl && (
        <Panel title="Webhook">
          <p className="flat">
            Add this address at {titleOf(name)}, so that deliveries and bounces are reported.
          </p>
          <p>
            <Copyable text={connection.webhookUrl} label="webhook address" />
          </p>
        </Panel>
      )}
      <Panel title="What it can do">
        <Abilities connection={connection} />
      </Panel>
    </div>
  );
}

type Values = Record<string, string | boolean>;

function startOf(connection: Connection, fields: FieldSpec[]): Values {
  const known: Record<string, unknown> = {
    ...connection.options,
    fromEmail: connection.fromEmail,
    ratePerSecond: connection.ratePerSecond,
    phiAllowed: connection.phiAllowed,
  };
  return Object.fromEntries(
    fields.map(({ name, kind, secret }) => {
      const value = secret ? "" : known[name];
      if (kind === "switch") return [name, value === true];
      return [name, Array.isArray(value) ? value.join("\n") : String(value ?? "")];
    }),
  );
}

function bodyOf(values: Values, fields: FieldSpec[]): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const { name, kind } of fields) {
    const value = values[name];
    if (kind === "switch") {
      if (value) body[name] = true;
    } else if (typeof value === "string" && value.trim()) {
      if (kind === "number") body[name] = Number(value);
      else if (kind === "lines")
        body[name] = value
          .split("\n")
          .map((line) => line.trim())
          .filter(Boolean);
      else body[name] = value.trim();
    }
  }
  return body;
}

function Form({ connection }: { connection: Connection }) {
  const project = useThisProject();
  const navigate = useNavigate();
  const fields = VENDORS[connection.provider]?.fields ?? [];
  const [values, setValues] = useState(() => startOf(connection, fields));
  const put = usePutProvider(project.id);
  const problem = put.error ? asProblem(put.error) : null;
  const save = (verify: boolean) =>
    put.mutate(
      { provider: connection.provider, body: bodyOf(values, fields), verify },
      {
        onSuccess: () => {
          notifications.show({
            message: verify ? "Saved. The provider took the credentials." : "Saved.",
          });
          void navigate(`/project/${project.id}/mail/settings/providers`);
        },
      },
    );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save(true);
  };
  return (
    <form onSubmit={submit} className="stack narrow" autoComplete="off">
      {connection.configured && fields.some((field) => field.secret) && (
        <p className="dimmed flat">
          Saved credentials are never shown. Fill them in again to change anything here
          {connection.keyHint ? `; the key ends in ${connection.keyHint}.` : "."}
        </p>
      )}
      {fields.map((field) => (
        <Field
          key={field.name}
          field={field}
          value={values[field.name] ?? ""}
          error={problem?.at(field.name)}
          onChange={(value) => setValues({ ...values, [field.name]: value })}
        />
      ))}
      {problem && !fields.some((field) => problem.at(field.name)) && <Failed error={problem} />}
      <div className="row">
        <Button type="submit" loading={put.isPending}>
          Save and verify
        </Button>
        <Button variant="default" onClick={() => save(false)} disabled={put.isPending}>
          Save without trying
        </Button>
      </div>
    </form>
  );
}

interface FieldProps {
  field: FieldSpec;
  value: string | boolean;
  error?: string;
  onChange: (value: string | boolean) => void;
}

function Field({ field, value, error, onChange }: FieldProps) {
  const common = {
    label: field.label,
    description: field.hint,
    required: field.required,
    error,
  };
  const text = String(value);
  if (field.kind === "switch")
    return (
      <Switch
        label={field.label}
        description={field.hint}
        error={error}
        checked={value === true}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
    );
  if (field.kind === "choice")
    return (
      <Select
        {...common}
        data={field.choices}
        value={text || null}
        onChange={(next) => onChange(next ?? "")}
      />
    );
  if (field.kind === "number")
    return (
      <NumberInput {...common} min={0} value={text} onChange={(next) => onChange(String(next))} />
    );
  if (field.kind === "lines" || field.kind === "area")
    return (
      <Textarea
        {...common}
        autosize
        minRows={2}
        value={text}
        onChange={(event) => onChange(event.currentTarget.value)}
      />
    );
  if (field.secret)
    return (
      <PasswordInput
        {...common}
        autoComplete="new-password"
        value={text}
        onChange={(event) => onChange(event.currentTarget.value)}
        visibilityToggleButtonProps={{ "aria-label": `Show ${field.label}` }}
      />
    );
  return (
    <TextInput {...common} value={text} onChange={(event) => onChange(event.currentTarget.value)} />
  );
}

function Abilities({ connection }: { connection: Connection }) {
  const can = connection.capabilities;
  const yes = (value: boolean) => (value ? "yes" : "no");
  return (
    <dl className="facts">
      <dt>Mails in one call</dt>
      <dd>{can.batchSize}</dd>
      <dt>De-duplicates repeats</dt>
      <dd>{yes(can.idempotent)}</dd>
      <dt>Attachments</dt>
      <dd>
        {can.attachments ? (can.attachmentsInBatch ? "yes" : "yes, such mails go alone") : "no"}
      </dd>
      <dt>Can be asked about a mail</dt>
      <dd>{yes(can.receipts)}</dd>
      <dt>Its own audiences</dt>
      <dd>{can.audiences ? "yes" : "no, Postroom's are used"}</dd>
      <dt>Health data</dt>
      <dd>{can.healthData ? "with an agreement" : "no"}</dd>
      <dt>Reports</dt>
      <dd>
        {can.events.length
          ? can.events.map((name) => name.replaceAll("_", " ")).join(", ")
          : "nothing by itself"}
      </dd>
    </dl>
  );
}
