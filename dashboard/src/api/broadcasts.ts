import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { http, type Schemas, take } from "./client";
import { every } from "./live";

export type Broadcast = Schemas["BroadcastOut"];
export type BroadcastBody = Schemas["BroadcastBody"];
export type BroadcastCounts = NonNullable<Broadcast["counts"]>;

const RUNNING = new Set(["sending", "queued", "scheduled"]);
export const isRunning = (broadcast: Broadcast): boolean => RUNNING.has(broadcast.status ?? "");

export function useBroadcasts(projectId: string) {
  return useQuery({
    queryKey: [projectId, "broadcasts"],
    queryFn: async () =>
      (
        await take(
          http.GET("/api/projects/{projectId}/mail/broadcasts", {
            params: { path: { projectId }, query: { limit: 100 } },
          }),
        )
      ).data,
    refetchInterval: (query) => (query.state.data?.some(isRunning) ? every(2000)(query) : false),
  });
}

export function useBroadcast(projectId: string, broadcastId: string | null) {
  return useQuery({
    queryKey: [projectId, "broadcasts", broadcastId],
    queryFn: () =>
      take(
        http.GET("/api/projects/{projectId}/mail/broadcasts/{broadcastId}", {
          params: { path: { projectId, broadcastId: broadcastId! } },
        }),
      ),
    enabled: broadcastId !== null,
    refetchInterval: (query) =>
      query.state.data?.status === "draft"
        ? false
        : query.state.data && isRunning(query.state.data)
          ? every(1000)(query)
          : every(10_000)(query),
  });
}

export function useReach(projectId: string, broadcastId: string) {
  return useQuery({
    queryKey: [projectId, "broadcasts", broadcastId, "count"],
    queryFn: () =>
      take(
        http.GET("/api/projects/{projectId}/mail/broadcasts/{broadcastId}/count", {
          params: { path: { projectId, broadcastId } },
        }),
      ),
  });
}

export function useBroadcastPreview(
  projectId: string,
  broadcastId: string,
  contactId: string | null,
) {
  return useQuery({
    queryKey: [projectId, "broadcasts", broadcastId, "preview", contactId],
    queryFn: () =>
      take(
        http.POST("/api/projects/{projectId}/mail/broadcasts/{broadcastId}/preview", {
          params: { path: { projectId, broadcastId } },
          body: contactId ? { contactId } : {},
        }),
      ),
    placeholderData: keepPreviousData,
    retry: false,
  });
}

function useChange<T>(projectId: string, act: (input: T) => Promise<Broadcast>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId, "broadcasts"] }),
  });
}

export function useSaveBroadcast(projectId: string) {
  return useChange(projectId, ({ id, body }: { id: string | null; body: BroadcastBody }) =>
    id === null
      ? take(
          http.POST("/api/projects/{projectId}/mail/broadcasts", {
            params: { path: { projectId } },
            body,
          }),
        )
      : take(
          http.PATCH("/api/projects/{projectId}/mail/broadcasts/{broadcastId}", {
            params: { path: { projectId, broadcastId: id } },
            body,
          }),
        ),
  );
}

export function useSendBroadcast(projectId: string, broadcastId: string) {
  return useChange(projectId, (body: { expected?: number; scheduledAt?: string }) =>
    take(
      http.POST("/api/projects/{projectId}/mail/broadcasts/{broadcastId}/send", {
        params: { path: { projectId, broadcastId } },
        body,
      }),
    ),
  );
}

export type Step = "pause" | "resume" | "cancel" | "resend-failed";

export function useStep(projectId: string, broadcastId: string) {
  const params = { path: { projectId, broadcastId } };
  const steps: Record<Step, () => Promise<Broadcast>> = {
    pause: () =>
      take(http.POST("/api/projects/{projectId}/mail/broadcasts/{broadcastId}/pause", { params })),
    resume: () =>
      take(http.POST("/api/projects/{projectId}/mail/broadcasts/{broadcastId}/resume", { params })),
    cancel: () =>
      take(http.POST("/api/projects/{projectId}/mail/broadcasts/{broadcastId}/cancel", { params })),
    "resend-failed": () =>
      take(
        http.POST("/api/projects/{projectId}/mail/broadcasts/{broadcastId}/resend-failed", {
          params,
        }),
      ),
  };
  return useChange(projectId, (step: Step) => steps[step]());
}

export function useTestBroadcast(projectId: string, broadcastId: string) {
  return useMutation({
    mutationFn: (to: string[]) =>
      take(
        http.POST("/api/projects/{projectId}/mail/broadcasts/{broadcastId}/test", {
          params: { path: { projectId, broadcastId } },
          body: { to },
        }),
      ),
  });
}

export function useDeleteBroadcast(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (broadcastId: string) =>
      take(
        http.DELETE("/api/projects/{projectId}/mail/broadcasts/{broadcastId}", {
          params: { path: { projectId, broadcastId } },
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId, "broadcasts"] }),
  });
}
