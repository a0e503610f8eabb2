import { Tabs } from "@mantine/core";
import { Link, useSearchParams } from "react-router";
import { asProblem } from "../../api/errors";
import { type Content, type Mail, useContent } from "../../api/mails";
import { useThisProject } from "../../shell/project";
import { MailFrame } from "../../ui/MailFrame";
import { Failed, Loading } from "../../ui/states";
import { number } from "../../ui/time";

/** What the mail said, for as long as it is kept. */
export function MailContent({ mail }: { mail: Mail }) {
  const project = useThisProject();
  const content = useContent(project.id, mail.id, true);
  if (content.isPending) return <Loading rows={3} />;
  if (content.error) {
    const problem = asProblem(content.error);
    if (problem.status !== 410 && problem.status !== 404) return <Failed error={problem} />;
    return (
      <p className="dimmed flat">
        {problem.message}{" "}
        <Link to={`/project/${project.id}/mail/settings/retention`}>How long content is kept</Link>
      </p>
    );
  }
  return <Parts content={content.data} />;
}

function Parts({ content }: { content: Content }) {
  const [search, setSearch] = useSearchParams();
  const first = content.html ? "html" : "text";
  const tab = search.get("tab") ?? first;
  const choose = (value: string | null) =>
    setSearch(
      (now) => {
        const next = new URLSearchParams(now);
        next.set("tab", value ?? first);
        return next;
      },
      { replace: true, preventScrollReset: true },
    );
  return (
    <Tabs value={tab} onChange={choose} keepMounted={false}>
      <Tabs.List aria-label="Parts of the mail">
        <Tabs.Tab value="html">HTML</Tabs.Tab>
        <Tabs.Tab value="text">Text</Tabs.Tab>
        <Tabs.Tab value="headers">Headers</Tabs.Tab>
        <Tabs.Tab value="raw">Raw</Tabs.Tab>
      </Tabs.List>
      <div className="tab-room">
        <Tabs.Panel value="html">
          {content.html ? (
            <MailFrame html={content.html} />
          ) : (
            <p className="dimmed">This mail has no HTML.</p>
          )}
        </Tabs.Panel>
        <Tabs.Panel value="text">
          {content.text ? (
            <pre className="mail-text">{content.text}</pre>
          ) : (
            <p className="dimmed">This mail has no text.</p>
          )}
        </Tabs.Panel>
        <Tabs.Panel value="headers">
          <Headers content={content} />
        </Tabs.Panel>
        <Tabs.Panel value="raw">
          <pre className="mail-text">{raw(content)}</pre>
        </Tabs.Panel>
      </div>
      {content.attachments.length > 0 && (
        <p className="small flat">
          Attachments:{" "}
          {content.attachments
            .map((each) => `${each.filename} (${number(Math.ceil(each.size / 1000))} kB)`)
            .join(", ")}
        </p>
      )}
    </Tabs>
  );
}

function headersOf(content: Content): [string, string][] {
  const lists: [string, string[]][] = [
    ["To", content.to],
    ["Cc", content.cc],
    ["Bcc", content.bcc],
    ["Reply-To", content.replyTo],
  ];
  return [
    ["From", content.from],
    ...lists
      .filter(([, each]) => each.length > 0)
      .map(([name, each]): [string, string] => [name, each.join(", ")]),
    ["Subject", content.subject],
    ...Object.entries(content.headers),
  ];
}

function Headers({ content }: { content: Content }) {
  return (
    <dl className="facts">
      {headersOf(content).map(([name, value]) => (
        <div key={name} className="help-row">
          <dt>{name}</dt>
          <dd className="mono">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The mail as it is kept; the provider writes the boundaries and encodings of the final message. */
function raw(content: Content): string {
  const head = headersOf(content).map(([name, value]) => `${name}: ${value}`);
  const parts = [
    content.text ? `Content-Type: text/plain\n\n${content.text}` : "",
    content.html ? `Content-Type: text/html\n\n${content.html}` : "",
    ...content.attachments.map(
      (each) =>
        `Content-Type: ${each.contentType ?? "application/octet-stream"}\nContent-Disposition: attachment; filename="${each.filename}"\n\n(${each.size} bytes)`,
    ),
  ].filter(Boolean);
  return [...head, "", parts.join("\n\n")].join("\n");
}
