import { Button } from "@mantine/core";
import type { ReactNode } from "react";
import { Link } from "react-router";
import type { Project } from "../api/projects";
import { Locked } from "../ui/states";
import { useMayChange, useThisProject } from "./project";

/** Audiences and contacts need a provider connection of the project's own. */
export const contactsOpen = (project: Project): boolean => project.mailProvider !== null;

/** Broadcasts need that and the pro plan. */
export const broadcastsOpen = (project: Project): boolean =>
  project.mailProvider !== null && project.plan === "pro";

/** What is missing, and who can change it. */
export function NeedsConnection({ title, children }: { title: string; children: ReactNode }) {
  const project = useThisProject();
  const mayChange = useMayChange();
  return (
    <Locked title={title}>
      <p>{children}</p>
      {mayChange ? (
        <Button component={Link} to={`/project/${project.id}/mail/settings/providers`}>
          Set up a provider
        </Button>
      ) : (
        <p>An owner or admin of the project can set one up.</p>
      )}
    </Locked>
  );
}

export function NeedsPlan() {
  const project = useThisProject();
  return (
    <Locked title="Broadcasts need the pro plan.">
      <p>
        One mail to a whole audience, with progress, pause and a report. An operator of this server
        can change the plan: <code>postroom project set-plan {project.id} pro</code>
      </p>
    </Locked>
  );
}
