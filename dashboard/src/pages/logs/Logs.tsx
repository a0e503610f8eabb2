import { Button, Select } from "@mantine/core";
import { ChevronLeft, ChevronRight, Radio, RotateCw } from "lucide-react";
import { lazy, Suspense, useCallback, useEffect, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { useLogs } from "../../api/mails";
import { useMayChange, useThisProject } from "../../shell/project";
import { Code } from "../../ui/Copy";
import { curlFor } from "../../ui/curl";
import { Page } from "../../ui/Page";
import { Empty, Failed, Loading } from "../../ui/states";
import { ExportButton } from "./ExportButton";
import { FilterBar } from "./FilterBar";
import { activeCount, filtersOf, withoutFilters } from "./filters";
import { useHeld } from "./held";
import { LogTable } from "./LogTable";
import { MailDrawer } from "./MailDrawer";
import "./logs.css";

const SendDialog = lazy(() => import("./SendDialog"));

export default function Logs() {
  const project = useThisProject();
  const mayChange = useMayChange();
  const [search, setSearch] = useSearchParams();
  const [live, setLive] = useState(true);
  const filters = filtersOf(search);
  const onFirstPage = !filters.cursor;
  const logs = useLogs(project.id, filters, live && onFirstPage);
  const opened = search.get("mail");
  const reading = useReading(opened !== null);
  const held = useHeld(
    JSON.stringify({ ...filters, from: search.get("range") }),
    logs.data?.data,
    reading,
  );
  useUnseen(held.waiting);
  const change = useCallback(
    (next: URLSearchParams, replace: boolean) =>
      setSearch(next, { replace, preventScrollReset: true }),
    [setSearch],
  );
  const open = useCallback(
    (id: string | null) => {
      setSearch(
        (now) => {
          const next = new URLSearchParams(now);
          next.delete("tab");
          if (id) next.set("mail", id);
          else next.delete("mail");
          return next;
        },
        { preventScrollReset: true },
      );
    },
    [setSearch],
  );
  const sending = search.get("send") !== null;
  const setSending = (on: boolean) => {
    const next = new URLSearchParams(search);
    if (on) next.set("send", "1");
    else next.delete("send");
    change(next, true);
  };
  return (
    <Page
      title="Delivery Logs"
      where={project.name}
      actions={
        <>
          <Button
            variant="default"
            leftSection={<Radio size={15} aria-hidden />}
            aria-pressed={live}
            onClick={() => setLive(!live)}
            className="live"
            data-on={live}
          >
            {live ? "Live" : "Paused"}
          </Button>
          {mayChange && <Button onClick={() => setSending(true)}>Send a test mail</Button>}
        </>
      }
    >
      <FilterBar search={search} onChange={change} />
      {logs.error && <Failed error={logs.error} retry={() => void logs.refetch()} />}
      <div className="busy-line" data-busy={logs.isPlaceholderData} aria-hidden />
      <div aria-live="polite" className="pill-place">
        {held.waiting > 0 && (
          <Button
            size="compact-sm"
            variant="light"
            data-testid="new-mails"
            onClick={() => {
              window.scrollTo({ top: 0 });
              held.release();
            }}
          >
            ↑ {held.waiting === 1 ? "1 new mail" : `${held.waiting} new mails`}
          </Button>
        )}
      </div>
      {logs.isPending && !logs.error ? (
        <Loading rows={12} />
      ) : held.rows.length > 0 ? (
        <LogTable mails={held.rows} opened={opened} search={search} />
      ) : (
        logs.data && (
          <Nothing
            filtered={activeCount(search) > 0}
            onClear={() => change(withoutFilters(search), false)}
            onSend={() => setSending(true)}
          />
        )
      )}
      <Pager
        search={search}
        next={logs.data?.pagination.nextCursor ?? null}
        onChange={change}
        filters={filters}
      />
      {opened && <MailDrawer key="drawer" id={opened} mails={held.rows} onOpen={open} />}
      {sending && (
        <Suspense>
          <SendDialog onClose={() => setSending(false)} onSent={() => setSending(false)} />
        </Suspense>
      )}
    </Page>
  );
}

/** Somebody reads while a mail is open or the list is scrolled. */
function useReading(drawer: boolean): boolean {
  const [scrolled, setScrolled] = useState(false);
  useEffect(() => {
    const look = () => setScrolled(window.scrollY > 120);
    window.addEventListener("scroll", look, { passive: true });
    return () => window.removeEventListener("scroll", look);
  }, []);
  return drawer || scrolled;
}

function useUnseen(count: number): void {
  useEffect(() => {
    const plain = document.title.replace(/^\(\d+\) /, "");
    document.title = count > 0 ? `(${count}) ${plain}` : plain;
  }, [count]);
}

function Nothing({
  filtered,
  onClear,
  onSend,
}: {
  filtered: boolean;
  onClear: () => void;
  onSend: () => void;
}) {
  const mayChange = useMayChange();
  if (filtered)
    return (
      <Empty title="No mail matches these filters.">
        <Button variant="default" onClick={onClear}>
          Clear filters
        </Button>
      </Empty>
    );
  return (
    <Empty title="No mail yet.">
      <p>Every mail that this project sends is listed here. It appears within a second.</p>
      <Code text={curlFor("sk_live_…")} label="first mail" />
      {mayChange && <Button onClick={onSend}>Send a test mail</Button>}
    </Empty>
  );
}

interface PagerProps {
  search: URLSearchParams;
  next: string | null;
  filters: ReturnType<typeof filtersOf>;
  onChange: (search: URLSearchParams, replace: boolean) => void;
}

function Pager({ search, next, filters, onChange }: PagerProps) {
  const navigate = useNavigate();
  const older = () => {
    const to = new URLSearchParams(search);
    to.set("cursor", next!);
    to.delete("mail");
    onChange(to, false);
    window.scrollTo({ top: 0 });
  };
  return (
    <div className="pager">
      <span className="dimmed small">Newest first</span>
      <Select
        size="xs"
        aria-label="Rows a page"
        data={["50", "100"]}
        value={String(filters.limit)}
        allowDeselect={false}
        w={72}
        onChange={(value) => {
          const to = new URLSearchParams(search);
          to.delete("cursor");
          if (value === "100") to.set("limit", "100");
          else to.delete("limit");
          onChange(to, false);
        }}
      />
      <ExportButton filters={filters} />
      <span className="grow" />
      <Button
        variant="default"
        size="compact-sm"
        leftSection={
          filters.cursor ? (
            <ChevronLeft size={14} aria-hidden />
          ) : (
            <RotateCw size={13} aria-hidden />
          )
        }
        disabled={!filters.cursor}
        onClick={() => void navigate(-1)}
      >
        Newer
      </Button>
      <Button
        variant="default"
        size="compact-sm"
        rightSection={<ChevronRight size={14} aria-hidden />}
        disabled={!next}
        onClick={older}
      >
        Older
      </Button>
    </div>
  );
}
