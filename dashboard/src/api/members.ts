import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { http, type Schemas, take } from "./client";

export type Member = Schemas["Member"];
export type Role = Member["role"];

export function useMembers(projectId: string) {
  return useQuery({
    queryKey: [projectId, "members"],
    queryFn: () =>
      take(http.GET("/api/projects/{projectId}/members", { params: { path: { projectId } } })),
  });
}

function useChange<T>(projectId: string, act: (input: T) => Promise<unknown>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId, "members"] }),
  });
}

export function useInvite(projectId: string) {
  return useChange(projectId, (body: { email: string; role: Role }) =>
    take(http.POST("/api/projects/{projectId}/members", { params: { path: { projectId } }, body })),
  );
}

export function useSetRole(projectId: string) {
  return useChange(projectId, ({ userId, role }: { userId: string; role: Role }) =>
    take(
      http.PATCH("/api/projects/{projectId}/members/{userId}", {
        params: { path: { projectId, userId } },
        body: { role },
      }),
    ),
  );
}

export function useRemoveMember(projectId: string) {
  return useChange(projectId, (userId: string) =>
    take(
      http.DELETE("/api/projects/{projectId}/members/{userId}", {
        params: { path: { projectId, userId } },
      }),
    ),
  );
}
