import { useEffect, useState } from "react";
import type { Mail } from "../../api/mails";

export interface Held {
  rows: Mail[];
  /** How many new mails wait behind the pill. */
  waiting: number;
  release: () => void;
}

/** Rows stay where they are while somebody reads; statuses change in place; new mails wait behind a pill. */
export function useHeld(list: string, fresh: Mail[] | undefined, reading: boolean): Held {
  const [state, setState] = useState<{ list: string; rows: Mail[] }>({ list, rows: [] });
  const same = state.list === list;
  const rows = !fresh
    ? state.rows
    : same && reading && state.rows.length
      ? merged(state.rows, fresh)
      : fresh;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the rows follow from these
  useEffect(() => {
    if (fresh) setState({ list, rows });
  }, [fresh, list, reading]);
  return {
    rows,
    waiting: fresh ? newer(rows, fresh) : 0,
    release: () => fresh && setState({ list, rows: fresh }),
  };
}

export function merged(shown: Mail[], fresh: Mail[]): Mail[] {
  const now = new Map(fresh.map((mail) => [mail.id, mail]));
  return shown.map((mail) => now.get(mail.id) ?? mail);
}

export function newer(shown: Mail[], fresh: Mail[]): number {
  const first = shown[0];
  if (!first) return 0;
  const at = fresh.findIndex((mail) => mail.id === first.id);
  return at < 0 ? (fresh[0] && fresh[0].id > first.id ? fresh.length : 0) : at;
}
