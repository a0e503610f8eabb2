import { Button, Group, Modal, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { Failed } from "./states";
import { ago } from "./time";

interface Props {
  title: string;
  action: string;
  start?: string | null;
  busy?: boolean;
  error?: unknown;
  onClose: () => void;
  onChoose: (at: string) => void;
}

export function MomentDialog({ title, action, start, busy, error, onClose, onChoose }: Props) {
  const [value, setValue] = useState(
    forField(start ? new Date(start) : new Date(Date.now() + 3_600_000)),
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onChoose(new Date(value).toISOString());
  };
  return (
    <Modal opened onClose={onClose} title={title} centered>
      <form onSubmit={submit} className="stack">
        <MomentInput label="When" value={value} onChange={setValue} />
        {error != null && <Failed error={error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Back
          </Button>
          <Button type="submit" loading={busy} disabled={!value}>
            {action}
          </Button>
        </Group>
      </form>
    </Modal>
  );
}

interface InputProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
}

/** The browser's own field: it knows the person's way of writing dates, the keyboard and the screen reader. */
export function MomentInput({ label, value, onChange }: InputProps) {
  const at = Date.parse(value);
  return (
    <TextInput
      type="datetime-local"
      label={label}
      required
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      description={
        Number.isNaN(at)
          ? undefined
          : `${Intl.DateTimeFormat().resolvedOptions().timeZone}, ${ago(at, Date.now())}`
      }
    />
  );
}

/** A moment as the field writes it: local, without a zone. */
export function forField(date: Date): string {
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16);
}
