import { Button, Menu } from "@mantine/core";
import { ChevronDown, Mail } from "lucide-react";
import { Link } from "react-router";
import { type Project, useProjects } from "../api/projects";

export function ProjectsMenu({ project }: { project: Project | undefined }) {
  const projects = useProjects();
  return (
    <Menu position="bottom-start" width={260}>
      <Menu.Target>
        <Button
          variant="subtle"
          color="gray"
          className="projects-button"
          leftSection={<Mail size={18} aria-hidden />}
          rightSection={<ChevronDown size={14} aria-hidden />}
          aria-label={`Project ${project?.name ?? ""}, choose another`}
        >
          <span className="ellipsis">{project?.name ?? "…"}</span>
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Projects</Menu.Label>
        {projects.data?.slice(0, 12).map((each) => (
          <Menu.Item key={each.id} component={Link} to={`/project/${each.id}/mail/logs`}>
            {each.name}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item component={Link} to="/projects">
          All projects
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
