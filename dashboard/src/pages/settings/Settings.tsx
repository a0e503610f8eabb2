import { Link, Navigate, NavLink, useParams } from "react-router";
import { useThisProject } from "../../shell/project";
import { Page } from "../../ui/Page";
import { Danger } from "./Danger";
import { Keys } from "./Keys";
import { Members } from "./Members";
import { ProviderPage } from "./ProviderPage";
import { Providers } from "./Providers";
import { Rehearsal } from "./Rehearsal";
import { Retention } from "./Retention";
import { Sending } from "./Sending";
import { Suppressions } from "./Suppressions";
import "./settings.css";

const SECTIONS = {
  providers: { label: "Providers", show: Providers },
  sending: { label: "Sending", show: Sending },
  keys: { label: "API keys", show: Keys },
  members: { label: "Members", show: Members },
  suppressions: { label: "Suppressions", show: Suppressions },
  retention: { label: "Retention", show: Retention },
  danger: { label: "Danger", show: Danger },
} as const;

export default function Settings() {
  const project = useThisProject();
  const { section = "providers", name, part } = useParams();
  const chosen = SECTIONS[section as keyof typeof SECTIONS];
  const base = `/project/${project.id}/mail/settings`;
  if (!chosen) return <Navigate to={`${base}/providers`} replace />;
  const Section = chosen.show;
  return (
    <Page title="Providers & settings" where={project.name}>
      <nav className="sections" aria-label="Settings">
        {Object.entries(SECTIONS).map(([key, { label }]) => (
          <NavLink key={key} to={`${base}/${key}`} className="section-link">
            {label}
          </NavLink>
        ))}
      </nav>
      {section === "providers" && name ? (
        <>
          <p className="flat">
            <Link to={`${base}/providers`}>‹ All providers</Link>
          </p>
          {part === "rehearsal" ? <Rehearsal name={name} /> : <ProviderPage name={name} />}
        </>
      ) : (
        <Section />
      )}
    </Page>
  );
}
