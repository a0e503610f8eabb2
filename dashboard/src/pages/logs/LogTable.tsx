import { type MouseEvent, memo } from "react";
import { Link, useNavigate } from "react-router";
import type { Mail } from "../../api/mails";
import { Status } from "../../ui/Status";
import { When } from "../../ui/When";

interface Props {
  mails: Mail[];
  opened: string | null;
  search: URLSearchParams;
}

export function LogTable({ mails, opened, search }: Props) {
  const base = new URLSearchParams(search);
  base.delete("mail");
  base.delete("tab");
  const query = base.toString();
  return (
    <div className="panel log">
      {/* The roles are named because a stacked list is no table to the browser any more. */}
      <table className="table stacked log-table">
        <caption className="visually-hidden">Mails, newest first</caption>
        <thead>
          <tr>
            <th scope="col">Status</th>
            <th scope="col">Subject</th>
            <th scope="col">To</th>
            <th scope="col">Provider</th>
            <th scope="col">Provider id</th>
            <th scope="col" className="num">
              Time
            </th>
          </tr>
        </thead>
        <tbody>
          {mails.map((mail) => (
            <Row key={mail.id} mail={mail} opened={mail.id === opened} query={query} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const Row = memo(function Row({
  mail,
  opened,
  query,
}: {
  mail: Mail;
  opened: boolean;
  query: string;
}) {
  const navigate = useNavigate();
  const to = `?${query ? `${query}&` : ""}mail=${mail.id}`;
  const open = (event: MouseEvent) => {
    // The link itself, and text that is being marked, mean something else.
    if ((event.target as HTMLElement).closest("a") || window.getSelection()?.toString()) return;
    if (event.metaKey || event.ctrlKey) window.open(to, "_blank");
    else void navigate(to, { preventScrollReset: true });
  };
  return (
    // The link in the row is the way by keyboard.
    <tr onClick={open} data-opened={opened || undefined} data-testid="log-row">
      <td className="log-status">
        <Status mail={mail} />
      </td>
      <td className="log-subject">
        <Link to={to} preventScrollReset aria-current={opened || undefined}>
          {mail.subject || "(no subject)"}
        </Link>
        {mail.lastError && <div className="log-error">{mail.lastError}</div>}
      </td>
      <td className="log-to">
        <span className="ellipsis">{mail.to[0] ?? "–"}</span>
        {mail.recipients.length > 1 && (
          <span className="dimmed"> +{mail.recipients.length - 1}</span>
        )}
      </td>
      <td className="log-provider">{mail.provider ?? "–"}</td>
      <td className="log-id">
        {mail.resendEmailId ? (
          <span className="mono" title={mail.resendEmailId}>
            {shortened(mail.resendEmailId)}
          </span>
        ) : (
          <span className="dimmed">not handed over</span>
        )}
      </td>
      <td className="log-time num">
        <When at={mail.sentAt ?? mail.createdAt} />
      </td>
    </tr>
  );
});

export function shortened(id: string): string {
  return id.length > 15 ? `${id.slice(0, 7)}…${id.slice(-5)}` : id;
}
