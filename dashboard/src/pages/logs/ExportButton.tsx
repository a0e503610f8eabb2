import { Button } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { Download } from "lucide-react";
import { useState } from "react";
import { asProblem } from "../../api/errors";
import { eachLogPage, type LogFilters, type Mail } from "../../api/mails";
import { useThisProject } from "../../shell/project";
import { asCsv, download } from "../../ui/csv";
import { number } from "../../ui/time";

const MOST = 10_000;
const COLUMNS: [string, (mail: Mail) => string][] = [
  ["id", (mail) => mail.id],
  ["status", (mail) => (mail.outcomeUnknown ? "outcome unknown" : mail.status)],
  ["subject", (mail) => mail.subject ?? ""],
  ["to", (mail) => mail.to.join(" ")],
  ["provider", (mail) => mail.provider ?? ""],
  ["provider_id", (mail) => mail.resendEmailId ?? ""],
  ["stream", (mail) => mail.stream],
  ["created_at", (mail) => mail.createdAt],
  ["sent_at", (mail) => mail.sentAt ?? ""],
  ["last_error", (mail) => mail.lastError ?? ""],
];

/** The filtered mails as a file, the newest ten thousand at most. */
export function ExportButton({ filters }: { filters: LogFilters }) {
  const project = useThisProject();
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    try {
      const mails: Mail[] = [];
      for await (const page of eachLogPage(project.id, filters)) {
        mails.push(...page);
        if (mails.length >= MOST) break;
      }
      download("mails.csv", asCsv(COLUMNS, mails));
      notifications.show({ message: `${number(mails.length)} mails exported.` });
    } catch (error) {
      notifications.show({ color: "red", message: `Not exported: ${asProblem(error).message}` });
    } finally {
      setBusy(false);
    }
  };
  return (
    <Button
      size="compact-sm"
      variant="default"
      loading={busy}
      leftSection={<Download size={13} aria-hidden />}
      onClick={() => void run()}
    >
      CSV
    </Button>
  );
}
