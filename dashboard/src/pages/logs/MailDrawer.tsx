import { ActionIcon, Drawer } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { ChevronLeft, ChevronRight, Link2 } from "lucide-react";
import { useEffect } from "react";
import { asProblem } from "../../api/errors";
import { type Mail, useMail } from "../../api/mails";
import { shortcutsOn } from "../../shell/preferences";
import { useThisProject } from "../../shell/project";
import { Status } from "../../ui/Status";
import { Failed, Loading } from "../../ui/states";
import { MailActions } from "./MailActions";
import { MailContent } from "./MailContent";
import { MailFacts } from "./MailFacts";
import { ProviderAnswer } from "./ProviderAnswer";
import { Timeline } from "./Timeline";

interface Props {
  id: string;
  mails: Mail[];
  onOpen: (id: string | null) => void;
}

export function MailDrawer({ id, mails, onOpen }: Props) {
  const project = useThisProject();
  const mail = useMail(project.id, id);
  const narrow = useMediaQuery("(max-width: 48em)");
  const at = mails.findIndex((each) => each.id === id);
  const previous = mails[at - 1]?.id;
  const next = at >= 0 ? mails[at + 1]?.id : undefined;
  useNeighbours(previous, next, onOpen);
  // The row of the list is known before the mail itself is.
  const known = mail.data?.dbLog ?? mails[at];
  return (
    <Drawer.Root
      opened
      onClose={() => onOpen(null)}
      position="right"
      size={narrow ? "100%" : 720}
      lockScroll={false}
      returnFocus
    >
      <Drawer.Overlay backgroundOpacity={0.25} />
      <Drawer.Content aria-label="Mail">
        <Drawer.Header className="drawer-head">
          <Drawer.Title className="drawer-title">
            {known ? (
              <>
                <Status mail={known} />
                <span>{known.subject || "(no subject)"}</span>
              </>
            ) : (
              "Mail"
            )}
          </Drawer.Title>
          <span className="row drawer-tools">
            <ActionIcon
              aria-label="Previous mail (k)"
              disabled={!previous}
              onClick={() => previous && onOpen(previous)}
            >
              <ChevronLeft size={17} />
            </ActionIcon>
            <ActionIcon
              aria-label="Next mail (j)"
              disabled={!next}
              onClick={() => next && onOpen(next)}
            >
              <ChevronRight size={17} />
            </ActionIcon>
            <ActionIcon
              aria-label="Copy the link to this mail"
              onClick={() => void navigator.clipboard?.writeText(location.href)}
            >
              <Link2 size={16} />
            </ActionIcon>
            <Drawer.CloseButton aria-label="Close" data-autofocus />
          </span>
        </Drawer.Header>
        <Drawer.Body className="stack">
          {mail.error && !mail.data ? (
            asProblem(mail.error).status === 404 ? (
              <p>There is no such mail in this project.</p>
            ) : (
              <Failed error={mail.error} retry={() => void mail.refetch()} />
            )
          ) : mail.data ? (
            <>
              <MailActions key={mail.data.dbLog.id} mail={mail.data.dbLog} onOpen={onOpen} />
              <MailFacts mail={mail.data.dbLog} />
              <Timeline mail={mail.data.dbLog} events={mail.data.events} />
              <MailContent key={`content ${mail.data.dbLog.id}`} mail={mail.data.dbLog} />
              <ProviderAnswer live={mail.data} />
            </>
          ) : (
            <Loading rows={8} />
          )}
        </Drawer.Body>
      </Drawer.Content>
    </Drawer.Root>
  );
}

function useNeighbours(
  previous: string | undefined,
  next: string | undefined,
  onOpen: (id: string) => void,
) {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (!shortcutsOn() || target.closest("input,textarea,select,[contenteditable]")) return;
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      if (event.key === "j" && next) onOpen(next);
      if (event.key === "k" && previous) onOpen(previous);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [previous, next, onOpen]);
}
