import { SegmentedControl } from "@mantine/core";
import { useState } from "react";
import { MailFrame } from "../../ui/MailFrame";

interface Rendered {
  subject: string | null;
  html: string | null;
  text: string | null;
}

export function Preview({ shown, stale }: { shown: Rendered | undefined; stale: boolean }) {
  const [part, setPart] = useState<"html" | "text">("html");
  return (
    <section aria-label="Preview" className="stack-s" data-testid="preview">
      <div className="row">
        <SegmentedControl
          aria-label="Part of the preview"
          value={part}
          onChange={(value) => setPart(value as typeof part)}
          data={[
            { value: "html", label: "HTML" },
            { value: "text", label: "Text" },
          ]}
        />
        {stale && <span className="dimmed small">Preview is from before the error.</span>}
      </div>
      <p className="flat">
        <span className="dimmed">Subject </span>
        <strong data-testid="preview-subject">{shown?.subject ?? "…"}</strong>
      </p>
      {part === "html" ? (
        shown?.html ? (
          <MailFrame html={shown.html} title="Preview of the mail" />
        ) : (
          <p className="dimmed">No HTML.</p>
        )
      ) : (
        <pre className="mail-text">{shown?.text ?? "No text."}</pre>
      )}
    </section>
  );
}
