import { useSyncExternalStore } from "react";
import { ago, exact } from "./time";

// One clock for all relative times of the page.
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(tell: () => void): () => void {
  listeners.add(tell);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, 10_000);
  return () => {
    listeners.delete(tell);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

/** How long ago, with the exact time on hovering. */
export function When({ at }: { at: string | null | undefined }) {
  const current = useNow();
  if (!at) return <span className="dimmed">–</span>;
  return (
    <time dateTime={at} title={exact(at)}>
      {ago(Date.parse(at), Math.max(current, Date.now() - 10_000))}
    </time>
  );
}

export function Exact({ at }: { at: string | null | undefined }) {
  if (!at) return <span className="dimmed">–</span>;
  return <time dateTime={at}>{exact(at)}</time>;
}
