import { Button, Popover } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { forField, MomentInput } from "../../ui/Moment";

export function CustomRange({
  range,
  onChoose,
}: {
  range: string;
  onChoose: (range: string) => void;
}) {
  const [opened, setOpened] = useState(false);
  const [start, end] = range.split("..");
  const [from, setFrom] = useState(
    forField(start && end ? new Date(start) : new Date(Date.now() - 86_400_000)),
  );
  const [until, setUntil] = useState(forField(end ? new Date(end) : new Date()));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onChoose(`${new Date(from).toISOString()}..${new Date(until).toISOString()}`);
    setOpened(false);
  };
  return (
    <Popover opened={opened} onChange={setOpened} position="bottom-end" trapFocus shadow="md">
      <Popover.Target>
        <Button variant={end ? "light" : "default"} onClick={() => setOpened(!opened)}>
          Custom
        </Button>
      </Popover.Target>
      <Popover.Dropdown>
        <form onSubmit={submit} className="stack">
          <MomentInput label="From" value={from} onChange={setFrom} />
          <MomentInput label="Until" value={until} onChange={setUntil} />
          <Button type="submit" disabled={!(Date.parse(from) < Date.parse(until))}>
            Show
          </Button>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
