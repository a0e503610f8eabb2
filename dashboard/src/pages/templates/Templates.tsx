import { Button } from "@mantine/core";
import { Link } from "react-router";
import { type TemplateSummary, useGlobalTemplates, useTemplates } from "../../api/templates";
import { useMayChange, useThisProject } from "../../shell/project";
import { Page } from "../../ui/Page";
import { Failed, Loading } from "../../ui/states";
import { When } from "../../ui/When";
import "./templates.css";

export default function Templates() {
  const project = useThisProject();
  const mayChange = useMayChange();
  const own = useTemplates(project.id);
  const shared = useGlobalTemplates(project.id);
  const make = (
    <Button component={Link} to={`/project/${project.id}/mail/templates/new`}>
      New template
    </Button>
  );
  return (
    <Page title="Templates" where={project.name} actions={mayChange && make}>
      <div className="stack">
        <section aria-labelledby="own">
          <h2 id="own" className="list-head">
            Own
          </h2>
          {own.isPending && <Loading rows={3} />}
          {own.error && <Failed error={own.error} retry={() => void own.refetch()} />}
          {own.data?.length === 0 && (
            <p className="dimmed flat">
              None yet. The global ones below work already: name one in <code>templateName</code>,
              or copy it to make it yours.
            </p>
          )}
          {own.data && own.data.length > 0 && <List templates={own.data} />}
        </section>
        <section aria-labelledby="global">
          <h2 id="global" className="list-head">
            Global
          </h2>
          {shared.isPending && <Loading rows={5} />}
          {shared.error && <Failed error={shared.error} retry={() => void shared.refetch()} />}
          {shared.data && <List templates={shared.data} />}
        </section>
      </div>
    </Page>
  );
}

function List({ templates }: { templates: TemplateSummary[] }) {
  const project = useThisProject();
  return (
    <div className="panel">
      <table className="table stacked">
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Key</th>
            <th scope="col">Subject</th>
            <th scope="col" className="num">
              Changed
            </th>
          </tr>
        </thead>
        <tbody>
          {templates.map((template) => (
            <tr key={template.id} data-testid="template-row">
              <td>
                <Link to={`/project/${project.id}/mail/templates/${template.id}`}>
                  {template.name}
                </Link>{" "}
                {template.shadows && <span className="pill">shadows a global one</span>}
              </td>
              <td>
                <code>{template.key}</code>
              </td>
              <td>{template.subject}</td>
              <td className="num">
                {template.scope === "global" ? (
                  <span className="dimmed">built in</span>
                ) : (
                  <When at={template.updatedAt} />
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
