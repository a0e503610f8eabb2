import { Button } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { RefreshCw } from "lucide-react";
import { useState } from "react";
import { asProblem } from "../../api/errors";
import {
  type Mail,
  useAskProvider,
  useCancel,
  useMove,
  useResend,
  useResolve,
} from "../../api/mails";
import { useMayChange, useThisProject } from "../../shell/project";
import { Confirm } from "../../ui/Confirm";
import { MomentDialog } from "../../ui/Moment";
import { shown } from "../../ui/shown";
import { Notice } from "../../ui/states";
import { exact } from "../../ui/time";

export function MailActions({ mail, onOpen }: { mail: Mail; onOpen: (id: string) => void }) {
  const project = useThisProject();
  const mayChange = useMayChange();
  const ask = useAskProvider(project.id, mail.id);
  const kind = shown(mail);
  const waits = mail.status === "queued" && !mail.sentAt && !mail.outcomeUnknown;
  return (
    <div className="stack-s">
      {kind === "scheduled" && <Notice title={`Leaves ${exact(mail.scheduledAt!)}`} />}
      {kind === "unknown" && (
        <Notice tone="warning" title="The outcome is unknown.">
          {mail.provider ?? "The provider"} took the mail and did not answer. It may have been
          delivered. Sending again may deliver it twice.
        </Notice>
      )}
      {mail.lastError && (mail.status === "failed" || mail.status === "bounced") && (
        <Notice tone="error" title={mail.lastError} />
      )}
      <div className="row">
        {mail.resendEmailId && (
          <Button
            variant="default"
            leftSection={<RefreshCw size={14} aria-hidden />}
            loading={ask.isPending}
            onClick={() =>
              ask.mutate(undefined, {
                onError: (error) =>
                  notifications.show({ color: "red", message: asProblem(error).message }),
              })
            }
          >
            Ask {mail.provider} now
          </Button>
        )}
        {mayChange && waits && <Waiting mail={mail} />}
        {mayChange && kind === "unknown" && <Parked mail={mail} />}
        {mayChange && mail.status === "failed" && <SendAgain mail={mail} onOpen={onOpen} />}
      </div>
    </div>
  );
}

function Waiting({ mail }: { mail: Mail }) {
  const project = useThisProject();
  const [dialog, setDialog] = useState<"cancel" | "move" | null>(null);
  const cancel = useCancel(project.id, mail.id);
  const move = useMove(project.id, mail.id);
  const close = () => setDialog(null);
  return (
    <>
      <Button variant="default" onClick={() => setDialog("move")}>
        Change the time
      </Button>
      <Button variant="default" onClick={() => setDialog("cancel")}>
        Cancel and refund
      </Button>
      <Confirm
        opened={dialog === "cancel"}
        title="Cancel this mail"
        action="Cancel the mail"
        busy={cancel.isPending}
        error={cancel.error}
        onClose={close}
        onConfirm={() => cancel.mutate(undefined, { onSuccess: close })}
      >
        It will not be sent, and its slot of the quota comes back.
      </Confirm>
      {dialog === "move" && (
        <MomentDialog
          title="Change the time"
          action="Change the time"
          start={mail.scheduledAt}
          busy={move.isPending}
          error={move.error}
          onClose={close}
          onChoose={(at) => move.mutate(at, { onSuccess: close })}
        />
      )}
    </>
  );
}

/** A failed mail as a new one, to the same people. */
function SendAgain({ mail, onOpen }: { mail: Mail; onOpen: (id: string) => void }) {
  const project = useThisProject();
  const resend = useResend(project.id);
  const [asking, setAsking] = useState(false);
  return (
    <>
      <Button variant="default" onClick={() => setAsking(true)}>
        Send again
      </Button>
      <Confirm
        opened={asking}
        title="Send again"
        action="Send a new mail"
        danger={false}
        busy={resend.isPending}
        error={resend.error}
        onClose={() => setAsking(false)}
        onConfirm={() =>
          resend.mutate(mail.id, {
            onSuccess: (made) => {
              setAsking(false);
              onOpen(made.id);
            },
          })
        }
      >
        A new mail goes to {mail.to.join(", ")}, with a slot of the quota of its own. This one stays
        as it is.
      </Confirm>
    </>
  );
}

const OUTCOMES = {
  sent: { label: "It arrived", says: "The mail is marked as sent." },
  resend: { label: "Send again", says: "It is handed over anew. It may be delivered twice." },
  failed: {
    label: "It did not arrive",
    says: "The mail is marked as failed, and its slot of the quota comes back.",
  },
} as const;

function Parked({ mail }: { mail: Mail }) {
  const project = useThisProject();
  const resolve = useResolve(project.id, mail.id);
  const [asking, setAsking] = useState<keyof typeof OUTCOMES | null>(null);
  return (
    <>
      {(Object.keys(OUTCOMES) as (keyof typeof OUTCOMES)[]).map((outcome) => (
        <Button key={outcome} variant="default" onClick={() => setAsking(outcome)}>
          {OUTCOMES[outcome].label}
        </Button>
      ))}
      <Confirm
        opened={asking !== null}
        title={asking ? OUTCOMES[asking].label : ""}
        action={asking ? OUTCOMES[asking].label : ""}
        danger={asking === "resend"}
        busy={resolve.isPending}
        error={resolve.error}
        onClose={() => setAsking(null)}
        onConfirm={() => asking && resolve.mutate(asking, { onSuccess: () => setAsking(null) })}
      >
        {asking && OUTCOMES[asking].says}
      </Confirm>
    </>
  );
}
