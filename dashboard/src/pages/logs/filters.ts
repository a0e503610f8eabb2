// The address bar is the state: filters of the log to and from the URL.
import type { LogFilters } from "../../api/mails";

export const RANGES: Record<string, { label: string; seconds: number }> = {
  "15m": { label: "Last 15 minutes", seconds: 900 },
  "24h": { label: "Last 24 hours", seconds: 86_400 },
  "7d": { label: "Last 7 days", seconds: 7 * 86_400 },
  "30d": { label: "Last 30 days", seconds: 30 * 86_400 },
};

export const STATUSES = [
  { value: "queued", label: "Queued" },
  { value: "sent", label: "Sent" },
  { value: "delivered", label: "Delivered" },
  { value: "bounced", label: "Bounced" },
  { value: "complained", label: "Complained" },
  { value: "failed", label: "Failed" },
  { value: "unknown", label: "Outcome unknown" },
];

const NAMES = ["status", "to", "q", "stream", "range", "from", "until"] as const;
export type FilterName = (typeof NAMES)[number];

export const LIMITS = [50, 100];

/** What is asked of the server. A moving range starts at a whole minute, so that answers can be kept. */
export function filtersOf(search: URLSearchParams, now = Date.now()): LogFilters {
  const filters: LogFilters = { limit: Number(search.get("limit")) === 100 ? 100 : 50 };
  const statuses = (search.get("status") ?? "").split(",").filter(Boolean);
  if (statuses.includes("unknown")) filters.outcomeUnknown = true;
  const known = statuses.filter((status) => status !== "unknown");
  if (known.length) filters.status = known;
  for (const name of ["to", "q", "from", "until", "cursor"] as const) {
    const value = search.get(name);
    if (value) filters[name] = value;
  }
  const stream = search.get("stream");
  if (stream === "transactional" || stream === "bulk") filters.stream = stream;
  const range = RANGES[search.get("range") ?? ""];
  if (range)
    filters.from = new Date(Math.floor(now / 60_000) * 60_000 - range.seconds * 1000).toISOString();
  return filters;
}

export function activeCount(search: URLSearchParams): number {
  return NAMES.filter((name) => search.get(name)).length;
}

/** Every change of a filter drops the place in the list: it belongs to another list. */
export function withFilter(
  search: URLSearchParams,
  name: FilterName,
  value: string,
): URLSearchParams {
  const next = new URLSearchParams(search);
  next.delete("cursor");
  if (name === "range") {
    next.delete("from");
    next.delete("until");
  }
  if (value) next.set(name, value);
  else next.delete(name);
  return next;
}

export function withoutFilters(search: URLSearchParams): URLSearchParams {
  const next = new URLSearchParams(search);
  for (const name of [...NAMES, "cursor"]) next.delete(name);
  return next;
}
