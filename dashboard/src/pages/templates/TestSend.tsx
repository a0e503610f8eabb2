import { Button, Group, Modal, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { useMe } from "../../api/account";
import { useSend } from "../../api/mails";
import { useThisProject } from "../../shell/project";
import { Failed } from "../../ui/states";
import type { Draft } from "./draft";

interface Props {
  draft: Draft;
  variables: Record<string, unknown>;
  onClose: () => void;
}

/** The texts as they stand in the editor, saved or not. */
export function TestSend({ draft, variables, onClose }: Props) {
  const project = useThisProject();
  const me = useMe();
  const send = useSend(project.id);
  const [to, setTo] = useState(
    project.mailProvider === "sandbox" ? "delivered@example.com" : (me.data?.email ?? ""),
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    send.mutate(
      {
        to: [to.trim()],
        subject: draft.subject,
        html: draft.html || undefined,
        text: draft.text || undefined,
        variables,
      },
      {
        onSuccess: () => {
          notifications.show({ message: `Test mail to ${to} accepted.` });
          onClose();
        },
      },
    );
  };
  return (
    <Modal opened onClose={onClose} title="Send a test" centered>
      <form onSubmit={submit} className="stack">
        <TextInput
          label="To"
          required
          value={to}
          onChange={(event) => setTo(event.currentTarget.value)}
          data-autofocus
        />
        <p className="dimmed small flat">With the sample variables, as the texts stand here now.</p>
        {send.error && <Failed error={send.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Back
          </Button>
          <Button type="submit" loading={send.isPending}>
            Send the test
          </Button>
        </Group>
      </form>
    </Modal>
  );
}
