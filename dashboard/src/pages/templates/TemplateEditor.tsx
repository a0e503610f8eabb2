import { Button, SegmentedControl, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { lazy, Suspense, useEffect, useMemo, useState } from "react";
import { Link, useNavigate } from "react-router";
import { asProblem, type Problem } from "../../api/errors";
import { type Template, useDeleteTemplate, usePreview, useSaveTemplate } from "../../api/templates";
import { useMayChange, useThisProject } from "../../shell/project";
import { Unsaved } from "../../shell/Unsaved";
import { Confirm } from "../../ui/Confirm";
import type { Mark } from "../../ui/Editor";
import { Page } from "../../ui/Page";
import { Failed, Loading, Notice } from "../../ui/states";
import { type Draft, draftOf, keepSample, parsed, sampleOf, withMissing } from "./draft";
import { Preview } from "./Preview";
import { TestSend } from "./TestSend";

const Editor = lazy(() => import("../../ui/Editor"));

export function TemplateEditor({ start, id }: { start: Template; id: string | null }) {
  const project = useThisProject();
  const mayChange = useMayChange();
  const navigate = useNavigate();
  const [draft, setDraft] = useState<Draft>(draftOf(start));
  const [sample, setSample] = useState(() => sampleOf(project.id, id));
  const [part, setPart] = useState<"html" | "text">("html");
  const [side, setSide] = useState<"edit" | "preview">("edit");
  const [dialog, setDialog] = useState<"delete" | "test" | null>(null);
  const save = useSaveTemplate(project.id, id);
  const remove = useDeleteTemplate(project.id);
  const isGlobal = start.scope === "global";
  const editable = mayChange && !isGlobal;
  const dirty =
    editable && JSON.stringify(draft) !== JSON.stringify(draftOf(start)) && !remove.isSuccess;
  const preview = useLivePreview(draft, sample);
  const problem = save.error ? asProblem(save.error) : null;
  const wrong = preview.problem ?? problem;
  const change = (what: Partial<Draft>) => setDraft((now) => ({ ...now, ...what }));
  const submit = () => {
    const body = {
      ...draft,
      html: draft.html || null,
      text: draft.text || null,
      key: draft.key || undefined,
    };
    save.mutate(body, {
      onSuccess: (kept) => {
        notifications.show({ message: "Saved. Mails accepted from now on use it." });
        if (id === null)
          void navigate(`/project/${project.id}/mail/templates/${kept.id}`, { replace: true });
      },
    });
  };
  useSaveKey(editable ? submit : null);
  useEffect(() => keepSample(project.id, id, sample), [project.id, id, sample]);
  const marks = useMemo(() => marksOf(wrong, part), [wrong, part]);
  const copy = `/project/${project.id}/mail/templates/new?copy=${start.id}`;
  return (
    <Page
      title={id === null ? "New template" : start.name}
      where={project.name}
      actions={
        <>
          {isGlobal && <span className="pill">global, read only</span>}
          {mayChange && id !== null && (
            <Button component={Link} to={copy} variant="default">
              {isGlobal ? "Copy to own" : "Copy"}
            </Button>
          )}
          {editable && id !== null && (
            <Button variant="default" onClick={() => setDialog("delete")}>
              Delete
            </Button>
          )}
          {mayChange && (
            <Button variant="default" onClick={() => setDialog("test")}>
              Send a test
            </Button>
          )}
          {editable && (
            <Button onClick={submit} loading={save.isPending} disabled={id !== null && !dirty}>
              Save
            </Button>
          )}
        </>
      }
    >
      {problem?.issues.every((issue) => !["name", "key"].includes(issue.path)) &&
        problem.status !== 409 && <Failed error={problem} />}
      <SegmentedControl
        className="side-switch"
        fullWidth
        value={side}
        onChange={(value) => setSide(value as typeof side)}
        data={[
          { value: "edit", label: "Edit" },
          { value: "preview", label: "Preview" },
        ]}
      />
      <div className="template" data-side={side}>
        <div className="template-edit stack-s">
          <div className="template-names">
            <TextInput
              label="Name"
              value={draft.name}
              readOnly={!editable}
              error={problem?.at("name")}
              onChange={(event) => change({ name: event.currentTarget.value })}
            />
            <TextInput
              label="Key"
              value={draft.key}
              placeholder="made of the name"
              readOnly={!editable}
              error={problem?.at("key") ?? (problem?.status === 409 ? problem.message : undefined)}
              onChange={(event) => change({ key: event.currentTarget.value })}
            />
          </div>
          <TextInput
            label="Subject"
            value={draft.subject}
            readOnly={!editable}
            error={wrong?.at("subject")}
            onChange={(event) => change({ subject: event.currentTarget.value })}
          />
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
              readOnly={!editable}
              marks={marks}
              onChange={(value) => change({ [part]: value })}
            />
          </Suspense>
          <Issues
            problem={wrong}
            onGo={(path) => (path === "html" || path === "text") && setPart(path)}
          />
          <h2 className="drawer-h2 flat">Sample variables (JSON)</h2>
          <Suspense fallback={<Loading rows={2} />}>
            <Editor label="Sample variables" language="json" value={sample} onChange={setSample} />
          </Suspense>
          {parsed(sample) === null && (
            <Notice
              tone="warning"
              title="The sample is not valid JSON. The preview is from before the error."
            />
          )}
          {preview.missing.length > 0 && (
            <p className="flat small">
              Missing:{" "}
              {preview.missing.map((name) => (
                <code key={name}>{name} </code>
              ))}
              <Button
                size="compact-xs"
                variant="default"
                onClick={() => setSample(withMissing(sample, preview.missing))}
              >
                Add to the sample
              </Button>
            </p>
          )}
        </div>
        <div className="template-preview">
          <Preview shown={preview.shown} stale={preview.problem !== null} />
        </div>
      </div>
      <Unsaved when={dirty && !save.isPending && !save.isSuccess} />
      <Confirm
        opened={dialog === "delete"}
        title={`Delete ${start.name}`}
        word={start.key}
        action="Delete the template"
        busy={remove.isPending}
        error={remove.error}
        onClose={() => setDialog(null)}
        onConfirm={() =>
          remove.mutate(start.id, {
            onSuccess: () => void navigate(`/project/${project.id}/mail/templates`),
          })
        }
      >
        Mails that name it are refused from then on. Mails already accepted with it are sent as they
        are.
      </Confirm>
      {dialog === "test" && (
        <TestSend draft={draft} variables={parsed(sample) ?? {}} onClose={() => setDialog(null)} />
      )}
    </Page>
  );
}

/** The server's own rendering, 300 ms after the last letter; the last good one stays while something is wrong. */
function useLivePreview(draft: Draft, sample: string) {
  const project = useThisProject();
  const [settled] = useDebouncedValue({ draft, sample }, 300);
  const variables = parsed(settled.sample);
  const [last, setLast] = useState<Record<string, unknown>>({});
  // biome-ignore lint/correctness/useExhaustiveDependencies: the sample's text decides
  useEffect(() => {
    if (variables) setLast(variables);
  }, [settled.sample]);
  const { subject, html, text } = settled.draft;
  const answer = usePreview(project.id, { subject, html, text, variables: variables ?? last });
  return {
    shown: answer.data,
    missing: answer.data?.missing ?? [],
    problem: answer.error ? asProblem(answer.error) : null,
  };
}

function marksOf(problem: Problem | null, part: string): Mark[] {
  return (problem?.issues ?? [])
    .filter((issue) => issue.path === part)
    .map(({ line, column, message }) => ({ line: line ?? 1, column: column ?? 1, message }));
}

function Issues({ problem, onGo }: { problem: Problem | null; onGo: (path: string) => void }) {
  if (!problem) return null;
  const issues = problem.issues.filter((issue) => ["html", "text"].includes(issue.path));
  if (issues.length === 0 && problem.issues.length > 0) return null;
  return (
    <div className="notice" data-tone="error" role="alert">
      {issues.length === 0 && problem.message}
      {issues.map((issue) => (
        <button
          key={issue.path + issue.message}
          type="button"
          className="issue"
          onClick={() => onGo(issue.path)}
        >
          {issue.message}
        </button>
      ))}
    </div>
  );
}

function useSaveKey(save: (() => void) | null) {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key === "s") {
        event.preventDefault();
        save?.();
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  });
}
