import { Button, FileInput, Group, Modal, Progress, Radio } from "@mantine/core";
import { type FormEvent, useEffect, useState } from "react";
import { useNavigate } from "react-router";
import { upload } from "../../api/imports";
import { useThisProject } from "../../shell/project";
import { Failed } from "../../ui/states";

/** The file is streamed as it is; only its first lines are looked at here. */
export function ImportDialog({ audienceId, onClose }: { audienceId: string; onClose: () => void }) {
  const project = useThisProject();
  const navigate = useNavigate();
  const [file, setFile] = useState<File | null>(null);
  const [conflict, setConflict] = useState("upsert");
  const [share, setShare] = useState<number | null>(null);
  const [error, setError] = useState<unknown>(null);
  const head = useHead(file);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!file) return;
    setError(null);
    setShare(0);
    try {
      const job = await upload(project.id, audienceId, file, conflict === "upsert", setShare);
      void navigate(`/project/${project.id}/mail/audiences/${audienceId}/imports/${job.id}`);
    } catch (problem) {
      setError(problem);
      setShare(null);
    }
  };
  return (
    <Modal opened onClose={onClose} title="Import contacts" size="lg" centered>
      <form onSubmit={(event) => void submit(event)} className="stack">
        <FileInput
          label="CSV file"
          description="The first line names the columns: email, first_name, last_name, and any others as properties."
          accept=".csv,text/csv,text/plain"
          placeholder="Choose a file"
          required
          value={file}
          onChange={setFile}
          clearable
          clearButtonProps={{ "aria-label": "Take the file back" }}
        />
        {head.length > 0 && (
          <section className="scroller" aria-label="The first lines of the file">
            <pre className="mail-text">{head.join("\n")}</pre>
          </section>
        )}
        <Radio.Group
          label="People who are in the audience already"
          value={conflict}
          onChange={setConflict}
        >
          <div className="stack-s radio-list">
            <Radio value="upsert" label="Update their names and properties" />
            <Radio value="skip" label="Leave them as they are" />
          </div>
        </Radio.Group>
        <p className="dimmed small flat">
          Importing never subscribes anybody again who has unsubscribed.
        </p>
        {share !== null && <Progress value={share * 100} aria-label="Upload" />}
        {error !== null && <Failed error={error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Back
          </Button>
          <Button type="submit" disabled={!file} loading={share !== null}>
            Import the file
          </Button>
        </Group>
      </form>
    </Modal>
  );
}

function useHead(file: File | null): string[] {
  const [lines, setLines] = useState<string[]>([]);
  useEffect(() => {
    let current = true;
    setLines([]);
    void file
      ?.slice(0, 4000)
      .text()
      .then((text) => current && setLines(text.split(/\r?\n/).slice(0, 6)));
    return () => {
      current = false;
    };
  }, [file]);
  return lines;
}
