import type { LiveMail } from "../../api/mails";
import { Code } from "../../ui/Copy";

/** What the vendor itself says of the mail, as it came. */
export function ProviderAnswer({ live }: { live: LiveMail }) {
  if (!live.dbLog.resendEmailId) return null;
  if (!live.resendStatus)
    return (
      <p className="dimmed small flat">
        This provider cannot be asked about a single mail; what it reports by itself is in the
        timeline.
      </p>
    );
  return (
    <details className="fold">
      <summary>
        What {live.dbLog.provider} says now: {live.last_event}
      </summary>
      <Code text={JSON.stringify(live.resendStatus, null, 2)} label="provider's answer" />
    </details>
  );
}
