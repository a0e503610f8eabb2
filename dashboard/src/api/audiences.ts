import {
  type InfiniteData,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { http, type Schemas, take } from "./client";

export type Audience = Schemas["AudienceOut"];
export type Contact = Schemas["ContactOut"];
export type ContactBody = Schemas["ContactBody"];
export type ContactChanges = Schemas["ContactChanges"];
type ContactPage = Schemas["ContactList"];

export function useAudiences(projectId: string, enabled = true) {
  return useQuery({
    queryKey: [projectId, "audiences"],
    queryFn: async () =>
      (
        await take(
          http.GET("/api/projects/{projectId}/mail/audiences", {
            params: { path: { projectId }, query: { limit: 200 } },
          }),
        )
      ).data,
    enabled,
    staleTime: 2_000,
  });
}

export function useCreateAudience(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (name: string) =>
      take(
        http.POST("/api/projects/{projectId}/mail/audiences", {
          params: { path: { projectId } },
          body: { name },
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId, "audiences"] }),
  });
}

export function useDeleteAudience(projectId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (audienceId: string) =>
      take(
        http.DELETE("/api/projects/{projectId}/mail/audiences/{audienceId}", {
          params: { path: { projectId, audienceId } },
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: [projectId, "audiences"] }),
  });
}

const contactsKey = (projectId: string, audienceId: string) => [projectId, "contacts", audienceId];

export function useContacts(projectId: string, audienceId: string, q: string, limit: number) {
  return useInfiniteQuery({
    queryKey: [...contactsKey(projectId, audienceId), q, limit],
    queryFn: ({ pageParam, signal }) =>
      take(
        http.GET("/api/projects/{projectId}/mail/audiences/{audienceId}/contacts", {
          params: {
            path: { projectId, audienceId },
            query: { limit, after: pageParam || undefined, q: q || undefined },
          },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => (page.has_more ? (page.data.at(-1)?.id ?? null) : null),
  });
}

export function useAddContact(projectId: string, audienceId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: ContactBody) =>
      take(
        http.POST("/api/projects/{projectId}/mail/audiences/{audienceId}/contacts", {
          params: { path: { projectId, audienceId } },
          body,
        }),
      ),
    onSuccess: () => refresh(queries, projectId, audienceId),
  });
}

function refresh(
  queries: ReturnType<typeof useQueryClient>,
  projectId: string,
  audienceId: string,
) {
  void queries.invalidateQueries({ queryKey: contactsKey(projectId, audienceId) });
  void queries.invalidateQueries({ queryKey: [projectId, "audiences"] });
}

interface Change {
  id: string;
  body: ContactChanges;
}

/** Shown at once, and rolled back when it was not saved. */
export function useChangeContact(projectId: string, audienceId: string) {
  const queries = useQueryClient();
  const queryKey = contactsKey(projectId, audienceId);
  return useMutation({
    mutationFn: ({ id, body }: Change) =>
      take(
        http.PATCH("/api/projects/{projectId}/mail/audiences/{audienceId}/contacts/{contactId}", {
          params: { path: { projectId, audienceId, contactId: id } },
          body,
        }),
      ),
    onMutate: async ({ id, body }) => {
      await queries.cancelQueries({ queryKey });
      const before = queries.getQueriesData<InfiniteData<ContactPage>>({ queryKey });
      const change = (contact: Contact): Contact =>
        contact.id === id
          ? {
              ...contact,
              unsubscribed: body.unsubscribed ?? contact.unsubscribed,
              first_name: body.firstName ?? contact.first_name,
              last_name: body.lastName ?? contact.last_name,
            }
          : contact;
      queries.setQueriesData<InfiniteData<ContactPage>>({ queryKey }, (now) =>
        now
          ? { ...now, pages: now.pages.map((page) => ({ ...page, data: page.data.map(change) })) }
          : now,
      );
      return { before };
    },
    onError: (_error, _change, kept) => {
      for (const [key, data] of kept?.before ?? []) queries.setQueryData(key, data);
    },
    onSettled: () => refresh(queries, projectId, audienceId),
  });
}

export function useRemoveContact(projectId: string, audienceId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (contactId: string) =>
      take(
        http.DELETE("/api/projects/{projectId}/mail/audiences/{audienceId}/contacts/{contactId}", {
          params: { path: { projectId, audienceId, contactId } },
        }),
      ),
    onSuccess: () => refresh(queries, projectId, audienceId),
  });
}
