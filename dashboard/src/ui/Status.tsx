import {
  Ban,
  CalendarClock,
  Check,
  CircleQuestionMark,
  Clock,
  Flag,
  OctagonAlert,
  Send,
  Undo2,
  X,
} from "lucide-react";
import classes from "./Status.module.css";
import { type Showable, type Shown, shown, WORDS } from "./shown";

const ICONS = {
  queued: Clock,
  scheduled: CalendarClock,
  sent: Send,
  delivered: Check,
  bounced: Undo2,
  complained: Flag,
  failed: OctagonAlert,
  unknown: CircleQuestionMark,
  canceled: X,
  suppressed: Ban,
};

export function StatusBadge({ kind }: { kind: Shown }) {
  const Icon = ICONS[kind];
  return (
    <span className={classes.badge} data-kind={kind} data-testid="mail-status">
      <Icon size={13} strokeWidth={2.25} aria-hidden />
      {WORDS[kind]}
    </span>
  );
}

export function Status({ mail }: { mail: Showable }) {
  return <StatusBadge kind={shown(mail)} />;
}
