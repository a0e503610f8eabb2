import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { http, type Schemas, take } from "./client";

export type Project = Schemas["ProjectOut"];
export type ProjectPatch = Schemas["ProjectPatch"];
export type FreshProject = Schemas["FreshProject"];
export type KeyKind = "secret" | "publishable";

export function useProjects(enabled = true) {
  return useQuery({
    queryKey: ["projects"],
    queryFn: () => take(http.GET("/api/projects")),
    enabled,
    staleTime: 10_000,
  });
}

export function useProject(projectId: string) {
  return useQuery({
    queryKey: [projectId, "project"],
    queryFn: () => take(http.GET("/api/projects/{projectId}", { params: { path: { projectId } } })),
    staleTime: 10_000,
  });
}

export function useCreateProject() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (name: string) => take(http.POST("/api/projects", { body: { name } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["projects"] }),
  });
}

export function usePatchProject(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: ProjectPatch) =>
      take(http.PATCH("/api/projects/{projectId}", { params: { path: { projectId } }, body })),
    onSuccess: (project) => {
      queries.setQueryData([projectId, "project"], project);
      void queries.invalidateQueries({ queryKey: ["projects"] });
      void queries.invalidateQueries({ queryKey: [projectId] });
    },
  });
}

export function useDeleteProject(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: () =>
      take(http.DELETE("/api/projects/{projectId}", { params: { path: { projectId } } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["projects"] }),
  });
}

export function useRotateKey(projectId: string) {
  return useMutation({
    mutationFn: (keyType: KeyKind) =>
      take(
        http.POST("/api/projects/{projectId}/api-key", {
          params: { path: { projectId } },
          body: { keyType },
        }),
      ),
  });
}
