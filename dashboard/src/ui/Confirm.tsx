import { Button, Group, Modal, TextInput } from "@mantine/core";
import { type FormEvent, type ReactNode, useState } from "react";
import { Failed } from "./states";

interface Props {
  opened: boolean;
  title: string;
  /** What must be typed; nothing: a click is enough. */
  word?: string;
  ask?: string;
  /** What the button does, in words. */
  action: string;
  danger?: boolean;
  busy?: boolean;
  error?: unknown;
  children: ReactNode;
  onConfirm: () => void;
  onClose: () => void;
}

export function Confirm(props: Props) {
  return (
    <Modal opened={props.opened} onClose={props.onClose} title={props.title} centered>
      {props.opened && <Asked {...props} />}
    </Modal>
  );
}

function Asked({
  word,
  ask,
  action,
  danger = true,
  busy,
  error,
  children,
  onConfirm,
  onClose,
}: Props) {
  const [typed, setTyped] = useState("");
  const ready = word === undefined || typed.trim() === word;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (ready && !busy) onConfirm();
  };
  return (
    <form onSubmit={submit} className="stack">
      <div>{children}</div>
      {word !== undefined && (
        <TextInput
          label={ask ?? `Type ${word} to confirm`}
          value={typed}
          onChange={(event) => setTyped(event.currentTarget.value)}
          autoComplete="off"
          data-autofocus
        />
      )}
      {error != null && <Failed error={error} />}
      <Group justify="flex-end" gap="xs">
        <Button variant="default" onClick={onClose}>
          Back
        </Button>
        <Button type="submit" color={danger ? "red.8" : undefined} disabled={!ready} loading={busy}>
          {action}
        </Button>
      </Group>
    </form>
  );
}
