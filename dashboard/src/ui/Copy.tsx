import { ActionIcon, Button } from "@mantine/core";
import { Check, Copy as CopyIcon } from "lucide-react";
import { useRef, useState } from "react";

/** Copies, or (where the browser offers no clipboard, as over plain HTTP) selects the text to copy by hand. */
async function put(text: string, shown: HTMLElement | null): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    if (shown) window.getSelection()?.selectAllChildren(shown);
    return false;
  }
}

function useCopy<T extends HTMLElement>(text: string) {
  const shown = useRef<T | null>(null);
  const [done, setDone] = useState(false);
  const copy = async () => {
    if (!(await put(text, shown.current))) return;
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return { shown, done, copy };
}

/** A value with its button: ids, keys, addresses. */
export function Copyable({ text, label }: { text: string; label: string }) {
  const { shown, done, copy } = useCopy<HTMLElement>(text);
  return (
    <span className="copyable">
      <code ref={shown}>{text}</code>
      <ActionIcon size="sm" aria-label={done ? "Copied" : `Copy ${label}`} onClick={copy}>
        {done ? <Check size={14} /> : <CopyIcon size={14} />}
      </ActionIcon>
    </span>
  );
}

/** A block to paste elsewhere. */
export function Code({ text, label }: { text: string; label: string }) {
  const { shown, done, copy } = useCopy<HTMLPreElement>(text);
  return (
    <div className="code">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls sideways must be reachable by keyboard */}
      <section aria-label={label} tabIndex={0}>
        <pre ref={shown}>{text}</pre>
      </section>
      <Button size="compact-xs" variant="default" onClick={copy} aria-label={`Copy ${label}`}>
        {done ? "Copied" : "Copy"}
      </Button>
    </div>
  );
}
