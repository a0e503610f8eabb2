import { Select, TextInput } from "@mantine/core";
import { Link } from "react-router";
import { useAudiences } from "../../api/audiences";
import { useProviders } from "../../api/providers";
import { useThisProject } from "../../shell/project";
import { Panel } from "../../ui/Page";
import { number } from "../../ui/time";
import type { Draft } from "./Compose";

interface Props {
  draft: Draft;
  onChange: (what: Partial<Draft>) => void;
}

export function PeopleStep({ draft, onChange }: Props) {
  const project = useThisProject();
  const audiences = useAudiences(project.id);
  const providers = useProviders(project.id);
  const usual = providers.data?.find((each) => each.provider === project.mailProvider)?.fromEmail;
  const chosen = audiences.data?.find((each) => each.id === draft.audienceId);
  return (
    <Panel>
      <div className="stack narrow">
        <Select
          label="Audience"
          required
          searchable
          data={
            audiences.data?.map((each) => ({ value: each.id ?? "", label: each.name ?? "" })) ?? []
          }
          value={draft.audienceId}
          onChange={(audienceId) => onChange({ audienceId })}
          description={
            chosen?.contacts != null
              ? `${number(chosen.contacts)} contacts, ${number(chosen.subscribed ?? 0)} subscribed`
              : undefined
          }
        />
        {audiences.data?.length === 0 && (
          <p className="flat">
            There is no audience yet.{" "}
            <Link to={`/project/${project.id}/mail/audiences`}>Make one first</Link>
          </p>
        )}
        <TextInput
          label="Name"
          description="For your list; recipients never see it."
          maxLength={200}
          value={draft.name}
          onChange={(event) => onChange({ name: event.currentTarget.value })}
        />
        <TextInput
          label="From"
          description={
            usual
              ? `Empty: ${usual}`
              : "Such as Example <news@example.com>. Empty: the server's own sender."
          }
          value={draft.from}
          onChange={(event) => onChange({ from: event.currentTarget.value })}
        />
        <TextInput
          label="Reply to"
          description="Several with commas between them."
          value={draft.replyTo}
          onChange={(event) => onChange({ replyTo: event.currentTarget.value })}
        />
      </div>
    </Panel>
  );
}
