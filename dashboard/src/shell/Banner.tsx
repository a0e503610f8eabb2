import { Link } from "react-router";
import { usePulse } from "../api/overview";
import type { Project } from "../api/projects";
import { Notice } from "../ui/states";
import { number } from "../ui/time";

/** At most one, the worst: a refused account, then a quota that is used up. */
export function Banner({ project }: { project: Project }) {
  const pulse = usePulse(project.id);
  const stopped = pulse.data?.providers.find((each) => each.stoppedAt && each.use !== "ready");
  const quota = pulse.data?.quota;
  if (stopped)
    return (
      <div className="banner">
        <Notice
          tone="error"
          title={`${stopped.title} refuses this account: ${stopped.stoppedReason ?? ""}`}
        >
          {stopped.waiting === 1 ? "1 mail is" : `${number(stopped.waiting)} mails are`} waiting,
          none is lost.{" "}
          <Link to={`/project/${project.id}/mail/settings/providers`}>Look at the connection</Link>
        </Notice>
      </div>
    );
  const silent = pulse.data?.providers.find((each) => each.silent && each.use === "sending");
  if (silent)
    return (
      <div className="banner">
        <Notice tone="warning" title={`${silent.title} reports far less than it usually does.`}>
          Mails are handed over, but their fate is not told. Check that its webhook points here.{" "}
          <Link to={`/project/${project.id}/mail/settings/providers/${silent.provider}`}>
            Look at the webhook address
          </Link>
        </Notice>
      </div>
    );
  if (quota && quota.limit >= 0 && quota.used >= quota.limit)
    return (
      <div className="banner">
        <Notice tone="warning" title="This month's quota is used up.">
          New mails are refused until{" "}
          {new Date(quota.resetsAt).toLocaleDateString("en-GB", { day: "numeric", month: "long" })}.
        </Notice>
      </div>
    );
  return null;
}
