import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { http, type Schemas, take } from "./client";
import { every } from "./live";

export type Overview = Schemas["OverviewOut"];
export type Account = Schemas["AccountOut"];
export type Counts = Schemas["StatusCountsOut"];

export interface Span {
  /** Seconds back from now, or exact bounds. */
  seconds?: number;
  from?: string;
  until?: string;
}

export function useOverview(projectId: string, span: Span) {
  return useQuery({
    queryKey: [projectId, "overview", span],
    queryFn: () => {
      const from = span.seconds
        ? new Date(Date.now() - span.seconds * 1000).toISOString()
        : span.from;
      return take(
        http.GET("/api/projects/{projectId}/mail/overview", {
          params: { path: { projectId }, query: { from, until: span.until } },
        }),
      );
    },
    placeholderData: keepPreviousData,
    refetchInterval: every(10_000),
  });
}

/** What the shell shows on every page: asked for rarely. */
export function usePulse(projectId: string) {
  return useQuery({
    queryKey: [projectId, "overview", "pulse"],
    queryFn: () => {
      const from = new Date(Date.now() - 3600_000).toISOString();
      return take(
        http.GET("/api/projects/{projectId}/mail/overview", {
          params: { path: { projectId }, query: { from } },
        }),
      );
    },
    refetchInterval: every(30_000),
    staleTime: 15_000,
  });
}
