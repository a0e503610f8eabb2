import { Button, Group, Modal, Select, Textarea, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { useMe } from "../../api/account";
import { asProblem } from "../../api/errors";
import { useSend } from "../../api/mails";
import { useThisProject } from "../../shell/project";
import { Failed } from "../../ui/states";

const MAGIC = [
  { value: "delivered@example.com", label: "delivered@ is delivered" },
  { value: "bounced@example.com", label: "bounced@ bounces" },
  { value: "complained@example.com", label: "complained@ complains" },
  { value: "delayed@example.com", label: "delayed@ is delayed" },
  { value: "suppressed@example.com", label: "suppressed@ is suppressed by the vendor" },
  { value: "failed@example.com", label: "failed@ fails" },
];

export default function SendDialog({
  onClose,
  onSent,
}: {
  onClose: () => void;
  onSent: () => void;
}) {
  const project = useThisProject();
  const me = useMe();
  const sandbox = project.mailProvider === "sandbox" || project.mailProvider === null;
  const [to, setTo] = useState(sandbox ? "delivered@example.com" : (me.data?.email ?? ""));
  const [subject, setSubject] = useState("A test mail");
  const [text, setText] = useState("It works.");
  const send = useSend(project.id);
  const problem = send.error ? asProblem(send.error) : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    send.mutate(
      { to: [to.trim()], subject, text, html: htmlOf(subject, text) },
      {
        onSuccess: () => {
          notifications.show({ message: "Mail accepted. Its status follows in the log." });
          onSent();
        },
      },
    );
  };
  return (
    <Modal opened onClose={onClose} title="Send a test mail" size="lg" centered>
      <form onSubmit={submit} className="stack">
        <TextInput
          label="To"
          required
          value={to}
          error={problem?.at("to")}
          onChange={(event) => setTo(event.currentTarget.value)}
          data-autofocus
        />
        {project.mailProvider === "sandbox" && (
          <Select
            label="Magic addresses of the sandbox"
            description="The part before the @ decides what becomes of the mail; any domain will do."
            data={MAGIC}
            value={MAGIC.some((each) => each.value === to) ? to : null}
            onChange={(value) => value && setTo(value)}
          />
        )}
        <TextInput
          label="Subject"
          required
          value={subject}
          error={problem?.at("subject")}
          onChange={(event) => setSubject(event.currentTarget.value)}
        />
        <Textarea
          label="Text"
          required
          autosize
          minRows={4}
          maxRows={12}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        {problem && !problem.at("to") && !problem.at("subject") && <Failed error={problem} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Back
          </Button>
          <Button type="submit" loading={send.isPending}>
            Send the mail
          </Button>
        </Group>
      </form>
    </Modal>
  );
}

function htmlOf(subject: string, text: string): string {
  const escaped = (value: string) =>
    value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const body = escaped(text).replaceAll("\n", "<br>");
  return `<div style="font-family:sans-serif;max-width:560px;margin:24px auto;padding:0 16px"><h1 style="font-size:20px">${escaped(subject)}</h1><p>${body}</p></div>`;
}
