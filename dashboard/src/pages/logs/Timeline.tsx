import type { Mail, MailEvent } from "../../api/mails";
import { duration, exact } from "../../ui/time";

const WORDS: Record<string, string> = {
  queued: "Accepted",
  sent: "Handed over",
  accepted: "Accepted by the provider",
  deferred: "Delivery delayed",
  delivered: "Delivered",
  soft_bounced: "Bounced for now",
  hard_bounced: "Bounced",
  complained: "Marked as spam",
  failed: "Failed",
  suppressed: "Suppressed by the provider",
  scheduled: "Scheduled at the provider",
  opened: "Opened",
  clicked: "Link clicked",
  unsubscribed: "Unsubscribed",
};

const TONES: Record<string, string> = {
  delivered: "good",
  soft_bounced: "bad",
  hard_bounced: "bad",
  complained: "bad",
  failed: "bad",
  suppressed: "bad",
};

/** What a bounce means for the next mail. */
const CONSEQUENCES: Record<string, string> = {
  hard_bounced: "The mailbox refuses mail for good. Later mails to the address are suppressed.",
  soft_bounced: "A passing trouble of the mailbox; the next mail is tried as usual.",
  complained: "The recipient does not want these mails. Later mails to the address are suppressed.",
};

export function Timeline({ mail, events }: { mail: Mail; events: MailEvent[] }) {
  const start = Date.parse(events[0]?.at ?? mail.createdAt);
  return (
    <section aria-label="Timeline">
      <h2 className="drawer-h2">Timeline</h2>
      <ol className="timeline">
        {events.map((event, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: events never change their place
          <li key={index} data-testid="timeline-event" data-tone={TONES[event.type]}>
            <time dateTime={event.at} title={exact(event.at)} className="mono dimmed">
              {index === 0
                ? exact(event.at).replace(/^.*?, /, "")
                : `+${duration(Date.parse(event.at) - start)}`}
            </time>
            <span>
              {said(event, mail)}
              <span className="dimmed"> · {event.source === "postroom" ? "us" : event.source}</span>
              {event.reason && (
                <span className="timeline-reason">
                  {event.code && <code>{event.code}</code>} {event.reason}
                </span>
              )}
              {CONSEQUENCES[event.type] && mail.provider !== "sandbox" && (
                <span className="timeline-reason dimmed">{CONSEQUENCES[event.type]}</span>
              )}
            </span>
          </li>
        ))}
        {mail.lastError &&
          mail.status === "failed" &&
          !events.some((event) => event.type === "failed") && (
            <li data-testid="timeline-event" data-tone="bad">
              <span />
              <span>{mail.lastError}</span>
            </li>
          )}
      </ol>
    </section>
  );
}

function said(event: MailEvent, mail: Mail): string {
  const words = WORDS[event.type] ?? event.type;
  if (event.type === "sent") return `${words} to ${mail.provider ?? "the provider"}`;
  return event.recipient && mail.recipients.length > 1 ? `${words}: ${event.recipient}` : words;
}
