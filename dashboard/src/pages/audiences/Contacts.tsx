import { Button, Checkbox, Menu, Select, Switch, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { Download, Ellipsis, Search, Trash2, Upload } from "lucide-react";
import { useEffect, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import {
  type Audience,
  type Contact,
  useChangeContact,
  useContacts,
  useDeleteAudience,
  useRemoveContact,
} from "../../api/audiences";
import { asProblem } from "../../api/errors";
import { exported } from "../../api/imports";
import { useMayChange, useThisProject } from "../../shell/project";
import { Confirm } from "../../ui/Confirm";
import { save } from "../../ui/csv";
import { Empty, Failed, Loading, Notice } from "../../ui/states";
import { number } from "../../ui/time";
import { When } from "../../ui/When";
import { ContactDrawer } from "./ContactDrawer";
import { ImportDialog } from "./ImportDialog";

type Dialog = "add" | "import" | "delete" | "remove" | null;

export function Contacts({ audience }: { audience: Audience }) {
  const project = useThisProject();
  const mayChange = useMayChange();
  const audienceId = audience.id!;
  const [search, setSearch] = useSearchParams();
  const q = search.get("q") ?? "";
  const [limit, setLimit] = useState(50);
  const [page, setPage] = useState(0);
  const [dialog, setDialog] = useState<Dialog>(null);
  const [opened, setOpened] = useState<Contact | null>(null);
  const [marked, setMarked] = useState<Set<string>>(new Set());
  const contacts = useContacts(project.id, audienceId, q, limit);
  const pages = contacts.data?.pages ?? [];
  const rows = pages[page]?.data ?? [];
  const vendorKeeps = audience.contacts == null;
  const find = (value: string) => {
    setSearch(value ? { q: value } : {}, { replace: true });
    setPage(0);
  };
  const older = async () => {
    if (page + 1 >= pages.length) await contacts.fetchNextPage();
    setPage(page + 1);
  };
  return (
    <section className="stack-s contacts" aria-label={`Contacts of ${audience.name}`}>
      <div className="row">
        <Find start={q} onFind={find} />
        <span className="grow" />
        {mayChange && <Button onClick={() => setDialog("add")}>Add a contact</Button>}
        <More
          vendorKeeps={vendorKeeps}
          onImport={() => setDialog("import")}
          onDelete={() => setDialog("delete")}
          onExport={() =>
            exported(project.id, audienceId)
              .then((file) => save(`${audience.name}.csv`, file))
              .catch((error) =>
                notifications.show({
                  color: "red",
                  message: `Not exported: ${asProblem(error).message}`,
                }),
              )
          }
        />
      </div>
      {vendorKeeps && (
        <Notice title="Resend keeps this list.">
          It cannot be renamed, imported or exported here, and its contacts are counted at Resend.
        </Notice>
      )}
      {marked.size > 0 && (
        <Marked audienceId={audienceId} marked={marked} onDone={() => setMarked(new Set())} />
      )}
      {contacts.isPending && <Loading rows={8} />}
      {contacts.error && <Failed error={contacts.error} retry={() => void contacts.refetch()} />}
      {contacts.data && rows.length === 0 && (
        <Empty title={q ? "No contact matches." : "No contacts yet."}>
          {q ? (
            <Button variant="default" onClick={() => find("")}>
              Clear the search
            </Button>
          ) : (
            mayChange &&
            !vendorKeeps && <Button onClick={() => setDialog("import")}>Import a file</Button>
          )}
        </Empty>
      )}
      {rows.length > 0 && (
        <Table
          audienceId={audienceId}
          rows={rows}
          marked={marked}
          onMark={setMarked}
          onOpen={setOpened}
        />
      )}
      <div className="pager">
        <Select
          size="xs"
          w={80}
          aria-label="Rows a page"
          data={["50", "100", "200"]}
          value={String(limit)}
          allowDeselect={false}
          onChange={(value) => {
            setLimit(Number(value));
            setPage(0);
          }}
        />
        <span className="grow" />
        <Button
          variant="default"
          size="compact-sm"
          disabled={page === 0}
          onClick={() => setPage(page - 1)}
        >
          Newer
        </Button>
        <Button
          variant="default"
          size="compact-sm"
          disabled={page + 1 >= pages.length && !contacts.hasNextPage}
          loading={contacts.isFetchingNextPage}
          onClick={() => void older()}
        >
          Older
        </Button>
      </div>
      {(dialog === "add" || opened) && (
        <ContactDrawer
          audienceId={audienceId}
          contact={opened}
          onClose={() => {
            setDialog(null);
            setOpened(null);
          }}
        />
      )}
      {dialog === "import" && (
        <ImportDialog audienceId={audienceId} onClose={() => setDialog(null)} />
      )}
      <DeleteAudience
        audience={audience}
        opened={dialog === "delete"}
        onClose={() => setDialog(null)}
      />
    </section>
  );
}

function Find({ start, onFind }: { start: string; onFind: (value: string) => void }) {
  const [typed, setTyped] = useState(start);
  useEffect(() => setTyped(start), [start]);
  const apply = useDebouncedCallback((value: string) => onFind(value.trim()), 250);
  return (
    <TextInput
      aria-label="Search contacts"
      placeholder="Address or name"
      leftSection={<Search size={15} aria-hidden />}
      value={typed}
      data-search
      onChange={(event) => {
        setTyped(event.currentTarget.value);
        apply(event.currentTarget.value);
      }}
    />
  );
}

interface MoreProps {
  vendorKeeps: boolean;
  onImport: () => void;
  onExport: () => void;
  onDelete: () => void;
}

function More({ vendorKeeps, onImport, onExport, onDelete }: MoreProps) {
  const mayChange = useMayChange();
  if (vendorKeeps && !mayChange) return null;
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <Button variant="default" rightSection={<Ellipsis size={15} aria-hidden />}>
          More
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        {mayChange && !vendorKeeps && (
          <Menu.Item leftSection={<Upload size={15} />} onClick={onImport}>
            Import a file
          </Menu.Item>
        )}
        {!vendorKeeps && (
          <Menu.Item leftSection={<Download size={15} />} onClick={onExport}>
            Export as CSV
          </Menu.Item>
        )}
        {mayChange && (
          <Menu.Item leftSection={<Trash2 size={15} />} onClick={onDelete}>
            Delete the audience
          </Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}

interface TableProps {
  audienceId: string;
  rows: Contact[];
  marked: Set<string>;
  onMark: (marked: Set<string>) => void;
  onOpen: (contact: Contact) => void;
}

function Table({ audienceId, rows, marked, onMark, onOpen }: TableProps) {
  const project = useThisProject();
  const mayChange = useMayChange();
  const change = useChangeContact(project.id, audienceId);
  const toggle = (id: string) => {
    const next = new Set(marked);
    if (!next.delete(id)) next.add(id);
    onMark(next);
  };
  const subscribe = (contact: Contact, on: boolean) =>
    change.mutate(
      { id: contact.id!, body: { unsubscribed: !on } },
      {
        onError: (error) =>
          notifications.show({ color: "red", message: `Not saved: ${asProblem(error).message}` }),
      },
    );
  return (
    <div className="panel">
      <table className="table stacked">
        <caption className="visually-hidden">Contacts, newest first</caption>
        <thead>
          <tr>
            {mayChange && (
              <th scope="col" className="narrow-cell">
                <Checkbox
                  size="xs"
                  aria-label="Choose all of this page"
                  checked={rows.every((each) => marked.has(each.id!))}
                  indeterminate={marked.size > 0 && !rows.every((each) => marked.has(each.id!))}
                  onChange={(event) =>
                    onMark(
                      event.currentTarget.checked
                        ? new Set(rows.map((each) => each.id!))
                        : new Set(),
                    )
                  }
                />
              </th>
            )}
            <th scope="col">Email</th>
            <th scope="col">Name</th>
            <th scope="col">Subscribed</th>
            <th scope="col" className="num">
              Added
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((contact) => (
            <tr key={contact.id} data-testid="contact-row">
              {mayChange && (
                <td className="narrow-cell">
                  <Checkbox
                    size="xs"
                    aria-label={`Choose ${contact.email}`}
                    checked={marked.has(contact.id!)}
                    onChange={() => toggle(contact.id!)}
                  />
                </td>
              )}
              <td>
                {mayChange ? (
                  <button type="button" className="link" onClick={() => onOpen(contact)}>
                    {contact.email}
                  </button>
                ) : (
                  contact.email
                )}
              </td>
              <td>{[contact.first_name, contact.last_name].filter(Boolean).join(" ") || "–"}</td>
              <td>
                {mayChange ? (
                  <Switch
                    size="xs"
                    aria-label={`${contact.email} is subscribed`}
                    checked={!contact.unsubscribed}
                    onChange={(event) => subscribe(contact, event.currentTarget.checked)}
                  />
                ) : contact.unsubscribed ? (
                  "no"
                ) : (
                  "yes"
                )}
              </td>
              <td className="num">
                <When at={contact.created_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Marked({
  audienceId,
  marked,
  onDone,
}: {
  audienceId: string;
  marked: Set<string>;
  onDone: () => void;
}) {
  const project = useThisProject();
  const change = useChangeContact(project.id, audienceId);
  const remove = useRemoveContact(project.id, audienceId);
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const words = marked.size === 1 ? "1 contact" : `${number(marked.size)} contacts`;
  const each = async (act: (id: string) => Promise<unknown>) => {
    setBusy(true);
    try {
      for (const id of marked) await act(id);
      onDone();
    } catch (error) {
      notifications.show({
        color: "red",
        message: `Not all were changed: ${asProblem(error).message}`,
      });
    } finally {
      setBusy(false);
      setAsking(false);
    }
  };
  return (
    <div className="row">
      <span>{words} chosen</span>
      <Button
        size="compact-sm"
        variant="default"
        loading={busy}
        onClick={() => void each((id) => change.mutateAsync({ id, body: { unsubscribed: true } }))}
      >
        Unsubscribe
      </Button>
      <Button size="compact-sm" variant="default" onClick={() => setAsking(true)}>
        Remove
      </Button>
      <Confirm
        opened={asking}
        title={`Remove ${words}`}
        action={`Remove ${words}`}
        busy={busy}
        onClose={() => setAsking(false)}
        onConfirm={() => void each((id) => remove.mutateAsync(id))}
      >
        Mails to them that were not handed over yet are taken back.
      </Confirm>
    </div>
  );
}

function DeleteAudience({
  audience,
  opened,
  onClose,
}: {
  audience: Audience;
  opened: boolean;
  onClose: () => void;
}) {
  const project = useThisProject();
  const navigate = useNavigate();
  const remove = useDeleteAudience(project.id);
  return (
    <Confirm
      opened={opened}
      title={`Delete ${audience.name}`}
      word={audience.name ?? ""}
      action={
        audience.contacts != null
          ? `Delete it with ${number(audience.contacts)} contacts`
          : "Delete the audience"
      }
      busy={remove.isPending}
      error={remove.error}
      onClose={onClose}
      onConfirm={() =>
        remove.mutate(audience.id!, {
          onSuccess: () => {
            onClose();
            void navigate(`/project/${project.id}/mail/audiences`);
          },
        })
      }
    >
      Its contacts go with it, and who has unsubscribed is forgotten. This cannot be undone.
    </Confirm>
  );
}
