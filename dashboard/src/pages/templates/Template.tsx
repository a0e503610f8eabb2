import { useParams, useSearchParams } from "react-router";
import { useTemplate } from "../../api/templates";
import { useThisProject } from "../../shell/project";
import { Page } from "../../ui/Page";
import { Failed, Loading } from "../../ui/states";
import { BLANK, copyOf } from "./draft";
import { TemplateEditor } from "./TemplateEditor";
import "./templates.css";

export default function Template() {
  const project = useThisProject();
  const { templateId = "new" } = useParams();
  const [search] = useSearchParams();
  const isNew = templateId === "new";
  const source = isNew ? search.get("copy") : templateId;
  const template = useTemplate(project.id, source);
  if (source && template.isPending)
    return (
      <Page title="Template" where={project.name}>
        <Loading rows={10} />
      </Page>
    );
  if (source && template.error)
    return (
      <Page title="Template" where={project.name}>
        <Failed error={template.error} retry={() => void template.refetch()} />
      </Page>
    );
  const start = template.data ? (isNew ? copyOf(template.data) : template.data) : BLANK;
  return (
    <TemplateEditor
      key={templateId + (source ?? "")}
      start={start}
      id={isNew ? null : templateId}
    />
  );
}
