import type { Query } from "@tanstack/react-query";
import { Problem } from "./errors";

const LONGEST = 15_000;
const PATIENCE = 120_000;

/** Poll at a pace that slows down when nothing changes and when the server has trouble. */
export function every(ms: number) {
  // biome-ignore lint/suspicious/noExplicitAny: the query's data does not matter here
  return (query: Query<any, any, any, any>): number | false => {
    const { error, fetchFailureCount, dataUpdatedAt } = query.state;
    if (
      error instanceof Problem &&
      error.status >= 400 &&
      error.status < 500 &&
      error.status !== 429
    )
      return false;
    if (error instanceof Problem && error.retryAfter) return error.retryAfter * 1000;
    if (fetchFailureCount > 0) return Math.min(LONGEST, ms * 2 ** fetchFailureCount);
    return Date.now() - lastChange(query.queryHash, query.state.data, dataUpdatedAt) > PATIENCE
      ? Math.min(LONGEST, ms * 4)
      : ms;
  };
}

const changes = new Map<string, { data: unknown; at: number }>();

/** Structural sharing keeps the same object while nothing changes. */
function lastChange(hash: string, data: unknown, now: number): number {
  const known = changes.get(hash);
  if (known && known.data === data) return known.at;
  if (changes.size > 50) changes.clear();
  changes.set(hash, { data, at: now });
  return now;
}
