import { Button, Drawer, Switch, Textarea, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { type Contact, useAddContact, useChangeContact } from "../../api/audiences";
import { asProblem } from "../../api/errors";
import { useThisProject } from "../../shell/project";
import { Failed } from "../../ui/states";

interface Props {
  audienceId: string;
  /** Nobody: a new one. */
  contact: Contact | null;
  onClose: () => void;
}

export function ContactDrawer({ audienceId, contact, onClose }: Props) {
  const project = useThisProject();
  const add = useAddContact(project.id, audienceId);
  const change = useChangeContact(project.id, audienceId);
  const [email, setEmail] = useState(contact?.email ?? "");
  const [firstName, setFirstName] = useState(contact?.first_name ?? "");
  const [lastName, setLastName] = useState(contact?.last_name ?? "");
  const [subscribed, setSubscribed] = useState(!contact?.unsubscribed);
  const [properties, setProperties] = useState(JSON.stringify(contact?.properties ?? {}, null, 2));
  const [wrong, setWrong] = useState<string>();
  const error = add.error ?? change.error;
  const problem = error ? asProblem(error) : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const known = objectOf(properties);
    if (!known) return setWrong("This is not a JSON object.");
    setWrong(undefined);
    const body = {
      firstName: firstName.trim() || null,
      lastName: lastName.trim() || null,
      unsubscribed: !subscribed,
      properties: known,
    };
    if (contact) change.mutate({ id: contact.id!, body }, { onSuccess: onClose });
    else add.mutate({ ...body, email: email.trim() }, { onSuccess: onClose });
  };
  return (
    <Drawer
      opened
      onClose={onClose}
      position="right"
      title={contact ? contact.email : "Add a contact"}
    >
      <form onSubmit={submit} className="stack">
        <TextInput
          label="Email"
          type="email"
          required
          readOnly={contact !== null}
          value={email}
          error={problem?.at("email")}
          onChange={(event) => setEmail(event.currentTarget.value)}
          data-autofocus={contact ? undefined : true}
        />
        <TextInput
          label="First name"
          value={firstName}
          onChange={(event) => setFirstName(event.currentTarget.value)}
        />
        <TextInput
          label="Last name"
          value={lastName}
          onChange={(event) => setLastName(event.currentTarget.value)}
        />
        <Switch
          label="Subscribed"
          description="Gets broadcasts. Turn it on again only when the person asks for it."
          checked={subscribed}
          onChange={(event) => setSubscribed(event.currentTarget.checked)}
        />
        <Textarea
          label="Properties (JSON)"
          autosize
          minRows={3}
          value={properties}
          error={wrong}
          onChange={(event) => setProperties(event.currentTarget.value)}
        />
        {problem && !problem.at("email") && <Failed error={problem} />}
        <Button type="submit" loading={add.isPending || change.isPending}>
          {contact ? "Save" : "Add the contact"}
        </Button>
      </form>
    </Drawer>
  );
}

function objectOf(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text.trim() || "{}");
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}
