import { BarChart3, FileText, Lock, Megaphone, ScrollText, Settings, Users } from "lucide-react";
import { NavLink } from "react-router";
import { usePulse } from "../api/overview";
import type { Project } from "../api/projects";
import { Meter } from "../ui/Meter";
import { broadcastsOpen, contactsOpen } from "./gates";

const PAGES = [
  {
    to: "overview",
    label: "Overview",
    icon: BarChart3,
    load: () => import("../pages/overview/Overview"),
  },
  {
    to: "logs",
    label: "Delivery Logs",
    icon: ScrollText,
    load: () => import("../pages/logs/Logs"),
  },
  {
    to: "templates",
    label: "Templates",
    icon: FileText,
    load: () => import("../pages/templates/Templates"),
  },
  {
    to: "audiences",
    label: "Audiences & Contacts",
    icon: Users,
    load: () => import("../pages/audiences/Audiences"),
    open: contactsOpen,
  },
  {
    to: "broadcasts",
    label: "Marketing Broadcasts",
    icon: Megaphone,
    load: () => import("../pages/broadcasts/Broadcasts"),
    open: broadcastsOpen,
  },
  {
    to: "settings",
    label: "Providers & settings",
    icon: Settings,
    load: () => import("../pages/settings/Settings"),
  },
];

export function Nav({ projectId, project }: { projectId: string; project: Project | undefined }) {
  return (
    <>
      <nav aria-label="Pages of the project" className="nav">
        {PAGES.map(({ to, label, icon: Icon, load, open }) => (
          <NavLink
            key={to}
            to={`/project/${projectId}/mail/${to}`}
            className="nav-link"
            onMouseEnter={() => void load()}
            onFocus={() => void load()}
          >
            <Icon size={16} aria-hidden />
            <span>{label}</span>
            {open && project && !open(project) && (
              <>
                <Lock size={13} aria-hidden className="nav-lock" />
                <span className="visually-hidden">locked</span>
              </>
            )}
          </NavLink>
        ))}
      </nav>
      {project && <Foot projectId={projectId} />}
    </>
  );
}

function Foot({ projectId }: { projectId: string }) {
  const pulse = usePulse(projectId);
  const quota = pulse.data?.quota;
  if (!quota) return null;
  return (
    <NavLink to={`/project/${projectId}/mail/overview`} className="nav-foot">
      <Meter used={quota.used} limit={quota.limit} label="This month" />
    </NavLink>
  );
}
