import { Button, Kbd } from "@mantine/core";
import { Spotlight, type SpotlightActionData, spotlight } from "@mantine/spotlight";
import "@mantine/spotlight/styles.css";
import { Search } from "lucide-react";
import { useState } from "react";
import { useNavigate } from "react-router";
import { type Project, useProjects } from "../api/projects";

export function PaletteButton() {
  return (
    <Button
      variant="default"
      size="compact-sm"
      onClick={spotlight.open}
      leftSection={<Search size={14} aria-hidden />}
      className="palette-button"
    >
      <span className="wide-only">
        Search or jump <Kbd size="xs">⌘K</Kbd>
      </span>
    </Button>
  );
}

const PAGES = [
  ["overview", "Overview"],
  ["logs", "Delivery Logs"],
  ["templates", "Templates"],
  ["audiences", "Audiences & Contacts"],
  ["broadcasts", "Marketing Broadcasts"],
  ["settings/providers", "Providers"],
  ["settings/sending", "Sending"],
  ["settings/keys", "API keys"],
  ["settings/members", "Members"],
  ["settings/suppressions", "Suppressions"],
  ["settings/retention", "Retention"],
] as const;

export function Palette({ project }: { project: Project }) {
  const [query, setQuery] = useState("");
  const navigate = useNavigate();
  const projects = useProjects();
  const here = `/project/${project.id}/mail`;
  const words = query.trim();
  const actions: SpotlightActionData[] = [
    ...found(words, here, navigate),
    ...PAGES.map(([to, label]) => ({
      id: to,
      label,
      onClick: () => void navigate(`${here}/${to}`),
    })),
    {
      id: "send",
      label: "Send a test mail",
      onClick: () => void navigate(`${here}/logs?send=1`),
    },
    ...(projects.data ?? [])
      .filter((each) => each.id !== project.id)
      .map((each) => ({
        id: each.id,
        label: `Project ${each.name}`,
        onClick: () => void navigate(`/project/${each.id}/mail/logs`),
      })),
  ];
  return (
    <Spotlight
      actions={actions}
      query={query}
      onQueryChange={setQuery}
      shortcut={["mod + K"]}
      limit={12}
      nothingFound="Nothing found."
      searchProps={{
        placeholder: "A page, a project, an address, a mail's id",
        "aria-label": "Search or jump",
        leftSection: <Search size={16} />,
      }}
    />
  );
}

/** An address or an id leads straight to its mails. */
function found(
  words: string,
  here: string,
  navigate: (to: string) => unknown,
): SpotlightActionData[] {
  if (words.includes("@"))
    return [
      {
        id: "to",
        label: `Mails to ${words}`,
        onClick: () => void navigate(`${here}/logs?to=${encodeURIComponent(words)}`),
      },
    ];
  if (/^[A-Za-z0-9_-]{10,128}$/.test(words))
    return [
      {
        id: "mail",
        label: `Open mail ${words}`,
        onClick: () => void navigate(`${here}/logs?mail=${words}`),
      },
    ];
  return [];
}
