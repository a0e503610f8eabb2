import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { http, type Schemas, take, whole } from "./client";
import { every } from "./live";

export type Mail = Schemas["MailOut"];
export type MailEvent = Schemas["EventOut"];
export type LiveMail = Schemas["LiveOut"];
export type SendRequest = Schemas["SendRequest"];

export interface LogFilters {
  status?: string[];
  to?: string;
  q?: string;
  stream?: "transactional" | "bulk";
  from?: string;
  until?: string;
  outcomeUnknown?: boolean;
  cursor?: string;
  limit?: number;
}

const FINAL = new Set(["delivered", "bounced", "complained", "failed"]);

export function isFinal(mail: Mail): boolean {
  return FINAL.has(mail.status) && !mail.outcomeUnknown;
}

export function logsQuery(projectId: string, filters: LogFilters) {
  return {
    queryKey: [projectId, "logs", filters] as const,
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      whole(
        http.GET("/api/projects/{projectId}/mail/logs", {
          params: { path: { projectId }, query: filters },
          signal,
        }),
      ),
  };
}

export function useLogs(projectId: string, filters: LogFilters, live: boolean) {
  return useQuery({
    ...logsQuery(projectId, filters),
    placeholderData: keepPreviousData,
    refetchInterval: live ? every(2000) : false,
    gcTime: 60_000,
  });
}

export function useMail(projectId: string, id: string) {
  return useQuery({
    queryKey: [projectId, "mail", id],
    queryFn: () =>
      take(
        http.GET("/api/projects/{projectId}/mail/logs/{id}", {
          params: { path: { projectId, id } },
        }),
      ),
    refetchInterval: (query) => {
      const mail = query.state.data?.dbLog;
      return mail && isFinal(mail) ? false : every(1000)(query);
    },
  });
}

export function useAskProvider(projectId: string, id: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: () =>
      take(
        http.GET("/api/projects/{projectId}/mail/logs/{id}/live", {
          params: { path: { projectId, id } },
        }),
      ),
    onSuccess: (live) => queries.setQueryData([projectId, "mail", id], live),
  });
}

export function useSend(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: SendRequest) =>
      take(
        http.POST("/api/projects/{projectId}/mail/send", {
          params: { path: { projectId } },
          body,
          headers: { "Idempotency-Key": crypto.getRandomValues(new Uint32Array(4)).join("-") },
        }),
      ),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: [projectId, "overview"] });
      return queries.invalidateQueries({ queryKey: [projectId, "logs"] });
    },
  });
}

function useOnMail<T>(projectId: string, id: string, act: (input: T) => Promise<unknown>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSettled: () => {
      void queries.invalidateQueries({ queryKey: [projectId, "mail", id] });
      void queries.invalidateQueries({ queryKey: [projectId, "overview"] });
      void queries.invalidateQueries({ queryKey: [projectId, "logs"] });
    },
  });
}

export function useCancel(projectId: string, id: string) {
  return useOnMail<void>(projectId, id, () =>
    take(
      http.DELETE("/api/projects/{projectId}/mail/scheduled/{id}", {
        params: { path: { projectId, id } },
      }),
    ),
  );
}

export function useMove(projectId: string, id: string) {
  return useOnMail<string>(projectId, id, (scheduledAt) =>
    take(
      http.PATCH("/api/projects/{projectId}/mail/scheduled/{id}", {
        params: { path: { projectId, id } },
        body: { scheduledAt },
      }),
    ),
  );
}

/** Page after page, for an export. */
export async function* eachLogPage(projectId: string, filters: LogFilters): AsyncGenerator<Mail[]> {
  let cursor: string | null | undefined;
  do {
    const page = await whole(
      http.GET("/api/projects/{projectId}/mail/logs", {
        params: {
          path: { projectId },
          query: { ...filters, limit: 100, cursor: cursor ?? undefined },
        },
      }),
    );
    yield page.data;
    cursor = page.pagination.nextCursor;
  } while (cursor);
}

export type Content = Schemas["ContentOut"];

/** What the mail said. Reading it is noted, so it is asked for once, when somebody looks. */
export function useContent(projectId: string, id: string, enabled: boolean) {
  return useQuery({
    queryKey: [projectId, "content", id],
    queryFn: () =>
      take(
        http.GET("/api/projects/{projectId}/mail/logs/{id}/content", {
          params: { path: { projectId, id } },
        }),
      ),
    enabled,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 60_000,
    retry: false,
  });
}

export function useResend(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (id: string) =>
      take(
        http.POST("/api/projects/{projectId}/mail/logs/{id}/resend", {
          params: { path: { projectId, id } },
        }),
      ),
    onSettled: () => queries.invalidateQueries({ queryKey: [projectId, "logs"] }),
  });
}

export function useResolve(projectId: string, id: string) {
  return useOnMail<"sent" | "resend" | "failed">(projectId, id, (outcome) =>
    take(
      http.POST("/api/projects/{projectId}/mail/logs/{id}/resolve", {
        params: { path: { projectId, id } },
        body: { outcome },
      }),
    ),
  );
}
