import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { http, type Schemas, take } from "./client";

export type Connection = Schemas["ConnectionOut"];

export function useProviders(projectId: string) {
  return useQuery({
    queryKey: [projectId, "providers"],
    queryFn: () =>
      take(
        http.GET("/api/projects/{projectId}/mail/providers", { params: { path: { projectId } } }),
      ),
    staleTime: 5_000,
  });
}

export interface Credentials {
  provider: string;
  body: Record<string, unknown>;
  verify: boolean;
}

export function usePutProvider(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ provider, body, verify }: Credentials) =>
      take(
        http.PUT("/api/projects/{projectId}/mail/providers/{provider}", {
          params: { path: { projectId, provider }, query: { verify } },
          body: body as never,
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId] }),
  });
}

export function useRemoveProvider(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (provider: string) =>
      take(
        http.DELETE("/api/projects/{projectId}/mail/providers/{provider}", {
          params: { path: { projectId, provider } },
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId] }),
  });
}
