// What the log shows of a mail: one pure function decides, one component draws.

export type Shown =
  | "queued"
  | "scheduled"
  | "sent"
  | "delivered"
  | "bounced"
  | "complained"
  | "failed"
  | "unknown"
  | "canceled"
  | "suppressed";

export interface Showable {
  status: string;
  outcomeUnknown: boolean;
  scheduledAt: string | null;
  lastError: string | null;
}

export function shown(mail: Showable, now = Date.now()): Shown {
  if (mail.outcomeUnknown && mail.status === "queued") return "unknown";
  if (mail.status === "queued" && mail.scheduledAt && Date.parse(mail.scheduledAt) > now)
    return "scheduled";
  if (mail.status === "failed" && mail.lastError === "Canceled.") return "canceled";
  if (mail.status === "failed" && mail.lastError?.toLowerCase().startsWith("suppressed"))
    return "suppressed";
  return KNOWN.has(mail.status) ? (mail.status as Shown) : "queued";
}

const KNOWN = new Set(["queued", "sent", "delivered", "bounced", "complained", "failed"]);

export const WORDS: Record<Shown, string> = {
  queued: "Queued",
  scheduled: "Scheduled",
  sent: "Sent",
  delivered: "Delivered",
  bounced: "Bounced",
  complained: "Complained",
  failed: "Failed",
  unknown: "Outcome unknown",
  canceled: "Canceled",
  suppressed: "Suppressed",
};

export const MEANINGS: Record<Shown, string> = {
  queued: "Accepted by Postroom, waiting for its turn at the provider.",
  scheduled: "Waits for its time.",
  sent: "Accepted by the provider, not yet by the inbox.",
  delivered: "Accepted by the recipient's mail server.",
  bounced: "Refused by the recipient's mail server.",
  complained: "Delivered, and marked as spam by the recipient.",
  failed: "Not sent. Its slot of the quota was given back.",
  unknown: "The provider took the call and did not answer: it may have been delivered.",
  canceled: "Canceled before it was handed over.",
  suppressed: "Not sent: every recipient is on the suppression list.",
};
