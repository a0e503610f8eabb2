import type { Mail } from "../../api/mails";
import { Copyable } from "../../ui/Copy";
import { StatusBadge } from "../../ui/Status";
import type { Shown } from "../../ui/shown";
import { Exact } from "../../ui/When";

export function MailFacts({ mail }: { mail: Mail }) {
  return (
    <dl className="facts">
      <dt>To</dt>
      <dd>
        {mail.recipients.length > 1 ? (
          <ul className="plain">
            {mail.recipients.map((each) => (
              <li key={each.address}>
                {each.address} <StatusBadge kind={each.status as Shown} />
                {each.reason && <span className="dimmed"> {each.reason}</span>}
              </li>
            ))}
          </ul>
        ) : (
          mail.to.join(", ")
        )}
      </dd>
      <dt>From</dt>
      <dd>{mail.from ?? "–"}</dd>
      <dt>Mail id</dt>
      <dd>
        <Copyable text={mail.id} label="mail id" />
      </dd>
      <dt>Provider</dt>
      <dd>
        {mail.provider ?? "–"}
        {mail.provider && (mail.usingByok ? ", the project's own account" : ", the shared account")}
      </dd>
      <dt>Provider id</dt>
      <dd>
        {mail.resendEmailId ? (
          <Copyable text={mail.resendEmailId} label="provider id" />
        ) : (
          <span className="dimmed">not handed over yet</span>
        )}
      </dd>
      {mail.templateUsed && (
        <>
          <dt>Template</dt>
          <dd>{String(mail.templateUsed.name ?? mail.templateUsed.key ?? "")}</dd>
        </>
      )}
      {mail.tags.length > 0 && (
        <>
          <dt>Tags</dt>
          <dd>{mail.tags.map((tag) => `${tag.name}: ${tag.value}`).join(", ")}</dd>
        </>
      )}
      {mail.scheduledAt && (
        <>
          <dt>Scheduled for</dt>
          <dd>
            <Exact at={mail.scheduledAt} />
          </dd>
        </>
      )}
      <dt>Stream</dt>
      <dd>{mail.stream}</dd>
      <dt>Attempts</dt>
      <dd>{mail.attempts}</dd>
    </dl>
  );
}
