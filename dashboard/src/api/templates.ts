import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { http, type Schemas, take } from "./client";

export type TemplateSummary = Schemas["TemplateOut"];
export type Template = Schemas["WholeTemplate"];
export type TemplateDraft = Schemas["TemplateCreate"];

export interface Trial {
  subject: string;
  html: string;
  text: string;
  variables: Record<string, unknown>;
}

export function useTemplates(projectId: string) {
  return useQuery({
    queryKey: [projectId, "templates", "own"],
    queryFn: async () =>
      (
        await take(
          http.GET("/api/projects/{projectId}/mail/templates", { params: { path: { projectId } } }),
        )
      ).templates,
  });
}

export function useGlobalTemplates(projectId: string) {
  return useQuery({
    queryKey: [projectId, "templates", "global"],
    queryFn: async () =>
      (
        await take(
          http.GET("/api/projects/{projectId}/mail/templates/global", {
            params: { path: { projectId } },
          }),
        )
      ).templates,
    staleTime: 300_000,
  });
}

export function useTemplate(projectId: string, templateId: string | null) {
  return useQuery({
    queryKey: [projectId, "templates", templateId],
    queryFn: async () =>
      (
        await take(
          http.GET("/api/projects/{projectId}/mail/templates/{templateId}", {
            params: { path: { projectId, templateId: templateId! } },
          }),
        )
      ).template,
    enabled: templateId !== null,
    // Somebody writes: what they have typed must not be replaced under their hands.
    refetchOnWindowFocus: false,
    staleTime: 60_000,
  });
}

/** What a mail would say, as the server itself renders it. */
export function usePreview(projectId: string, trial: Trial | null) {
  return useQuery({
    queryKey: [projectId, "template-preview", trial],
    queryFn: ({ signal }) =>
      take(
        http.POST("/api/projects/{projectId}/mail/templates/preview", {
          params: { path: { projectId } },
          body: trial!,
          signal,
        }),
      ),
    enabled: trial !== null,
    placeholderData: keepPreviousData,
    retry: false,
    refetchOnWindowFocus: false,
    gcTime: 10_000,
  });
}

export function useSaveTemplate(projectId: string, templateId: string | null) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: async (body: TemplateDraft) =>
      (templateId === null
        ? await take(
            http.POST("/api/projects/{projectId}/mail/templates", {
              params: { path: { projectId } },
              body,
            }),
          )
        : await take(
            http.PATCH("/api/projects/{projectId}/mail/templates/{templateId}", {
              params: { path: { projectId, templateId } },
              body: { ...body, key: body.key ?? undefined },
            }),
          )
      ).template,
    onSuccess: (template) => {
      queries.setQueryData([projectId, "templates", template.id], template);
      void queries.invalidateQueries({ queryKey: [projectId, "templates", "own"] });
    },
  });
}

export function useDeleteTemplate(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (templateId: string) =>
      take(
        http.DELETE("/api/projects/{projectId}/mail/templates/{templateId}", {
          params: { path: { projectId, templateId } },
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId, "templates", "own"] }),
  });
}
