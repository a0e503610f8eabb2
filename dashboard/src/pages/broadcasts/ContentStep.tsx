import { Button, SegmentedControl, Select, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { lazy, Suspense, useEffect, useState } from "react";
import { useGlobalTemplates, useTemplate, useTemplates } from "../../api/templates";
import { useThisProject } from "../../shell/project";
import { MailFrame } from "../../ui/MailFrame";
import { Loading } from "../../ui/states";
import type { Draft } from "./Compose";

const Editor = lazy(() => import("../../ui/Editor"));

interface Props {
  draft: Draft;
  onChange: (what: Partial<Draft>) => void;
}

export function ContentStep({ draft, onChange }: Props) {
  const [part, setPart] = useState<"html" | "text">("html");
  const [settled] = useDebouncedValue(draft.html, 300);
  return (
    <div className="two-wide">
      <div className="stack-s">
        <TextInput
          label="Subject"
          required
          value={draft.subject}
          description="{{{contact.first_name|there}}} is filled for each person; the word after | is said where there is none."
          onChange={(event) => onChange({ subject: event.currentTarget.value })}
        />
        <FromTemplate onTake={onChange} />
        <SegmentedControl
          aria-label="Part of the mail"
          value={part}
          onChange={(value) => setPart(value as typeof part)}
          data={[
            { value: "html", label: "HTML" },
            { value: "text", label: "Text" },
          ]}
        />
        <Suspense fallback={<Loading rows={6} />}>
          <Editor
            key={part}
            label={part === "html" ? "HTML of the mail" : "Text of the mail"}
            language={part}
            value={draft[part]}
            onChange={(value) => onChange({ [part]: value })}
          />
        </Suspense>
      </div>
      <div>
        <h2 className="drawer-h2">Preview, before it is filled</h2>
        <MailFrame html={settled} title="Preview of the broadcast" />
      </div>
    </div>
  );
}

/** Starts from the texts of a template; broadcasts fill their own blanks, not the template's. */
function FromTemplate({ onTake }: { onTake: (what: Partial<Draft>) => void }) {
  const project = useThisProject();
  const own = useTemplates(project.id);
  const shared = useGlobalTemplates(project.id);
  const [id, setId] = useState<string | null>(null);
  const [asked, setAsked] = useState(false);
  const template = useTemplate(project.id, asked ? id : null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: taken once, when it is there
  useEffect(() => {
    if (!asked || !template.data) return;
    onTake({
      subject: template.data.subject,
      html: template.data.html ?? "",
      text: template.data.text ?? "",
    });
    setAsked(false);
  }, [asked, template.data]);
  const data = [...(own.data ?? []), ...(shared.data ?? [])].map((each) => ({
    value: each.id,
    label: each.name,
  }));
  return (
    <div className="row">
      <Select
        aria-label="Template"
        placeholder="Start from a template"
        data={data}
        value={id}
        onChange={setId}
      />
      <Button
        variant="default"
        disabled={!id}
        loading={asked && template.isFetching}
        onClick={() => setAsked(true)}
      >
        Replace the texts
      </Button>
    </div>
  );
}
