import { Link } from "react-router";
import type { Account } from "../../api/overview";
import { useThisProject } from "../../shell/project";
import { number } from "../../ui/time";
import { When } from "../../ui/When";

export const USES: Record<Account["use"], string> = {
  sending: "Sending",
  failover: "Failover",
  ready: "Ready",
};

export function Accounts({ accounts }: { accounts: Account[] }) {
  const project = useThisProject();
  if (accounts.length === 0)
    return (
      <p className="flat">
        Nothing sends for this project yet.{" "}
        <Link to={`/project/${project.id}/mail/settings/providers`}>Set up a provider</Link>
      </p>
    );
  return (
    <table className="table stacked">
      <thead>
        <tr>
          <th scope="col">Account</th>
          <th scope="col">State</th>
          <th scope="col">Rate</th>
          <th scope="col">Waiting</th>
          <th scope="col">Last event</th>
        </tr>
      </thead>
      <tbody>
        {accounts.map((account) => (
          <tr
            key={`${account.provider}${account.own}`}
            data-testid={`provider-${account.provider}`}
          >
            <td>
              <strong>{account.title}</strong>
              {!account.own && <span className="dimmed"> · shared</span>}
            </td>
            <td>
              <State account={account} />
            </td>
            <td>{rate(account)}</td>
            <td>{number(account.waiting)} waiting</td>
            <td>
              {account.lastEventAt ? (
                <>
                  event <When at={account.lastEventAt} />
                </>
              ) : (
                <span className="dimmed">
                  {account.reports ? "no event yet" : "reports nothing by itself"}
                </span>
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function State({ account }: { account: Account }) {
  if (account.stoppedAt)
    return (
      <>
        <span className="pill" data-tone="bad">
          Refused
        </span>{" "}
        {account.stoppedReason}
      </>
    );
  if (account.silent)
    return (
      <span className="pill" data-tone="amber">
        Reports far less than usual
      </span>
    );
  if (account.pausedSeconds > 1)
    return (
      <span className="pill" data-tone="amber">
        Pauses for {Math.ceil(account.pausedSeconds)} s
      </span>
    );
  return (
    <span className="pill" data-tone={account.use === "sending" ? "good" : undefined}>
      {USES[account.use]}
    </span>
  );
}

function rate(account: Account): string {
  if (account.ratePerSecond === null) return account.own ? "no limit" : "–";
  return `${account.callsLastSecond ?? 0} of ${number(account.ratePerSecond)} calls a second`;
}
