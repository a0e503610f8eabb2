import { Button, FileButton, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { asProblem } from "../../api/errors";
import {
  type SuppressionReport,
  useImportSuppressions,
  useSuppress,
  useSuppressions,
  useUnsuppress,
} from "../../api/suppressions";
import { useMayChange, useThisProject } from "../../shell/project";
import { Panel } from "../../ui/Page";
import { Empty, Failed, Loading, Notice } from "../../ui/states";
import { number } from "../../ui/time";
import { When } from "../../ui/When";

const WHY: Record<string, string> = {
  bounce: "bounced",
  complaint: "complained",
  manual: "added by hand",
  import: "imported",
};

export function Suppressions() {
  const project = useThisProject();
  const mayChange = useMayChange();
  const list = useSuppressions(project.id);
  const remove = useUnsuppress(project.id);
  const rows = list.data?.pages.flatMap((page) => page.data) ?? [];
  const take = (address: string) =>
    remove.mutate(address, {
      onSuccess: () => notifications.show({ message: `Mail to ${address} will be tried again.` }),
      onError: (error) =>
        notifications.show({ color: "red", message: `Not saved: ${asProblem(error).message}` }),
    });
  return (
    <div className="stack">
      {mayChange && <Add />}
      {list.isPending && <Loading rows={4} />}
      {list.error && <Failed error={list.error} retry={() => void list.refetch()} />}
      {list.data && rows.length === 0 && (
        <Empty title="Nobody is suppressed.">
          <p>
            Addresses that bounce for good or complain come here by themselves; nothing is sent to
            them.
          </p>
        </Empty>
      )}
      {rows.length > 0 && (
        <div className="panel">
          <table className="table stacked">
            <thead>
              <tr>
                <th scope="col">Address</th>
                <th scope="col">Why</th>
                <th scope="col">Since</th>
                {mayChange && (
                  <th scope="col">
                    <span className="visually-hidden">Actions</span>
                  </th>
                )}
              </tr>
            </thead>
            <tbody>
              {rows.map((each) => (
                <tr key={each.address}>
                  <td>{each.address}</td>
                  <td>{WHY[each.reason] ?? each.reason}</td>
                  <td>
                    <When at={each.createdAt} />
                  </td>
                  {mayChange && (
                    <td className="num">
                      <Button
                        variant="subtle"
                        color="gray"
                        size="compact-sm"
                        aria-label={`Remove ${each.address}`}
                        onClick={() => take(each.address)}
                      >
                        Remove
                      </Button>
                    </td>
                  )}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.hasNextPage && (
        <div>
          <Button
            variant="default"
            loading={list.isFetchingNextPage}
            onClick={() => void list.fetchNextPage()}
          >
            Older
          </Button>
        </div>
      )}
    </div>
  );
}

function Add() {
  const project = useThisProject();
  const suppress = useSuppress(project.id);
  const bring = useImportSuppressions(project.id);
  const [address, setAddress] = useState("");
  const problem = suppress.error ? asProblem(suppress.error) : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    suppress.mutate([address.trim()], { onSuccess: () => setAddress("") });
  };
  return (
    <Panel title="Suppress an address">
      <form onSubmit={submit} className="row">
        <TextInput
          aria-label="Address"
          placeholder="someone@example.com"
          type="email"
          required
          value={address}
          error={problem?.message}
          onChange={(event) => setAddress(event.currentTarget.value)}
        />
        <Button type="submit" loading={suppress.isPending}>
          Suppress
        </Button>
        <FileButton
          accept=".csv,text/csv,text/plain"
          onChange={(file) => file && bring.mutate(file)}
        >
          {(props) => (
            <Button {...props} variant="default" loading={bring.isPending}>
              Import a list
            </Button>
          )}
        </FileButton>
      </form>
      {bring.error && <Failed error={bring.error} />}
      {bring.data && <Report report={bring.data} />}
    </Panel>
  );
}

function Report({ report }: { report: SuppressionReport }) {
  return (
    <div>
      <Notice
        tone={report.failed ? "warning" : "done"}
        title={`${number(report.added)} added, ${number(report.known)} known, ${number(report.failed)} refused.`}
      >
        {report.refused.length > 0 &&
          `First refused: line ${report.refused[0]?.line}, ${report.refused[0]?.reason}`}
      </Notice>
    </div>
  );
}
