import { Kbd, Modal } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { useNavigate } from "react-router";
import { shortcutsOn } from "./preferences";

const GOES: Record<string, string> = {
  o: "overview",
  l: "logs",
  t: "templates",
  a: "audiences",
  b: "broadcasts",
  s: "settings/providers",
};

const HELP = [
  ["⌘K", "Search or jump"],
  ["g then o l t a b s", "Go to a page"],
  ["/", "Search the log"],
  ["j k", "Next, previous mail"],
  ["Esc", "Close"],
  ["?", "This list"],
] as const;

function isField(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName))
  );
}

export function Shortcuts({ projectId }: { projectId: string }) {
  const [help, setHelp] = useState(false);
  const goes = useRef(0);
  const navigate = useNavigate();
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!shortcutsOn() || isField(event.target) || event.metaKey || event.ctrlKey || event.altKey)
        return;
      if (event.key === "?") setHelp(true);
      else if (event.key === "g") goes.current = event.timeStamp;
      else if (event.key === "/") {
        const field = document.querySelector<HTMLInputElement>("[data-search]");
        if (field) {
          event.preventDefault();
          field.focus();
        }
      } else if (event.timeStamp - goes.current < 1500 && GOES[event.key]) {
        goes.current = 0;
        void navigate(`/project/${projectId}/mail/${GOES[event.key]}`);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [navigate, projectId]);
  return (
    <Modal opened={help} onClose={() => setHelp(false)} title="Keyboard" centered>
      <dl className="facts">
        {HELP.map(([keys, does]) => (
          <div key={keys} className="help-row">
            <dt>
              <Kbd>{keys}</Kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p className="dimmed">Single keys can be switched off under Account.</p>
    </Modal>
  );
}
