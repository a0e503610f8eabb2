import { AppShell, Burger } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { Suspense, useEffect } from "react";
import { Link, Outlet, useLocation, useParams } from "react-router";
import { asProblem } from "../api/errors";
import { type Project, useProject } from "../api/projects";
import { Empty, Failed, Loading } from "../ui/states";
import { AccountMenu } from "./AccountMenu";
import { Banner } from "./Banner";
import { Nav } from "./Nav";
import { Palette, PaletteButton } from "./Palette";
import { ProjectsMenu } from "./ProjectsMenu";
import { ProjectProvider } from "./project";
import { Shortcuts } from "./Shortcuts";
import "./shell.css";

/** Everything around a page of a project. */
export function Shell() {
  const { projectId = "" } = useParams();
  const project = useProject(projectId);
  if (project.error && !project.data) {
    const problem = asProblem(project.error);
    return (
      <main className="door">
        {problem.status === 404 ? (
          <Empty title="This project does not exist or is not yours.">
            <Link to="/projects">To your projects</Link>
          </Empty>
        ) : (
          <Failed error={problem} retry={() => void project.refetch()} />
        )}
      </main>
    );
  }
  return <Frame project={project.data} projectId={projectId} />;
}

function Frame({ project, projectId }: { project: Project | undefined; projectId: string }) {
  const [opened, nav] = useDisclosure();
  const here = useLocation();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new page closes the drawer
  useEffect(() => nav.close(), [here.pathname]);
  return (
    <AppShell
      header={{ height: 52 }}
      navbar={{ width: 236, breakpoint: "md", collapsed: { mobile: !opened } }}
      padding={0}
    >
      <a href="#main" className="skip-link">
        Skip to the page
      </a>
      <AppShell.Header className="bar">
        <Burger
          opened={opened}
          onClick={nav.toggle}
          hiddenFrom="md"
          size="sm"
          aria-label="Navigation"
          aria-expanded={opened}
        />
        <ProjectsMenu project={project} />
        {project && <Pills project={project} />}
        <span className="grow" />
        <PaletteButton />
        <AccountMenu projectId={projectId} />
      </AppShell.Header>
      <AppShell.Navbar>
        <Nav projectId={projectId} project={project} />
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1}>
        <div className="page">
          {project ? (
            <ProjectProvider value={project}>
              <Banner project={project} />
              <Suspense key={here.pathname.split("/")[4]} fallback={<Loading rows={8} />}>
                <Outlet />
              </Suspense>
              <Palette project={project} />
              <Shortcuts projectId={projectId} />
            </ProjectProvider>
          ) : (
            <Loading rows={8} />
          )}
        </div>
      </AppShell.Main>
    </AppShell>
  );
}

function Pills({ project }: { project: Project }) {
  return (
    <>
      {project.mailProvider === "sandbox" && (
        <span className="pill" data-tone="ink" title="Mails stay here, nothing leaves this server.">
          Sandbox
        </span>
      )}
      {project.phi && (
        <span className="pill" data-tone="amber">
          Health data
        </span>
      )}
      {project.role === "viewer" && (
        <span
          className="pill"
          title="You can look at everything here, not change it. Ask an owner of the project."
        >
          Viewer
        </span>
      )}
    </>
  );
}
