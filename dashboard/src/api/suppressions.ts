import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { http, problemOf, type Schemas, take, whole } from "./client";
import { token } from "./token";

export type Suppression = Schemas["SuppressionOut"];
export type SuppressionReport = Schemas["ReportOut"];

export function useSuppressions(projectId: string) {
  return useInfiniteQuery({
    queryKey: [projectId, "suppressions"],
    queryFn: ({ pageParam }) =>
      whole(
        http.GET("/api/projects/{projectId}/mail/suppressions", {
          params: { path: { projectId }, query: { limit: 50, cursor: pageParam || undefined } },
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.pagination.nextCursor,
  });
}

function useChange<T, R>(projectId: string, act: (input: T) => Promise<R>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId, "suppressions"] }),
  });
}

export function useSuppress(projectId: string) {
  return useChange(projectId, (addresses: string[]) =>
    take(
      http.POST("/api/projects/{projectId}/mail/suppressions", {
        params: { path: { projectId } },
        body: { addresses },
      }),
    ),
  );
}

export function useUnsuppress(projectId: string) {
  return useChange(projectId, (address: string) =>
    take(
      http.DELETE("/api/projects/{projectId}/mail/suppressions/{address}", {
        params: { path: { projectId, address } },
      }),
    ),
  );
}

export function useImportSuppressions(projectId: string) {
  return useChange(projectId, async (file: File): Promise<SuppressionReport> => {
    const response = await fetch(`/api/projects/${projectId}/mail/suppressions/import`, {
      method: "POST",
      headers: { authorization: `Bearer ${token() ?? ""}`, "content-type": "text/csv" },
      body: file,
    });
    const body = await response.json();
    if (!response.ok) throw problemOf(body, response);
    return (body as { data: SuppressionReport }).data;
  });
}
