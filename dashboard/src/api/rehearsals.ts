import { useQuery } from "@tanstack/react-query";
import { http, type Schemas, take } from "./client";

export type Rehearsal = Schemas["RehearsalOut"];

/** What a move to another provider would bring; nothing is sent, so it may simply be asked. */
export function useRehearsal(projectId: string, provider: string) {
  return useQuery({
    queryKey: [projectId, "rehearsal", provider],
    queryFn: () =>
      take(
        http.POST("/api/projects/{projectId}/mail/providers/rehearse", {
          params: { path: { projectId } },
          body: { to: provider, last: 100 },
        }),
      ),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
    retry: false,
  });
}
