import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { http, problemOf, type Schemas, take } from "./client";
import { Problem } from "./errors";
import { every } from "./live";
import { token } from "./token";

export type Import = Schemas["ImportOut"];

export const importEnded = (job: Import): boolean =>
  job.status === "completed" || job.status === "failed";

export function useImport(projectId: string, audienceId: string, importId: string) {
  const queries = useQueryClient();
  const job = useQuery({
    queryKey: [projectId, "imports", importId],
    queryFn: () =>
      take(
        http.GET("/api/projects/{projectId}/mail/audiences/{audienceId}/imports/{importId}", {
          params: { path: { projectId, audienceId, importId } },
        }),
      ),
    refetchInterval: (query) =>
      query.state.data && importEnded(query.state.data) ? false : every(1000)(query),
  });
  const ended = job.data !== undefined && importEnded(job.data);
  useEffect(() => {
    if (!ended) return;
    // What was known of the audience is from before its new contacts.
    void queries.invalidateQueries({ queryKey: [projectId, "contacts", audienceId] });
    void queries.invalidateQueries({ queryKey: [projectId, "audiences"] });
  }, [ended, queries, projectId, audienceId]);
  return job;
}

/** The file goes up as it is, with its progress: fetch has no event for that. */
export function upload(
  projectId: string,
  audienceId: string,
  file: File,
  overwrite: boolean,
  onProgress: (share: number) => void,
): Promise<Import> {
  const query = overwrite ? "" : "?onConflict=skip";
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(
      "POST",
      `/api/projects/${projectId}/mail/audiences/${audienceId}/contacts/import${query}`,
    );
    request.setRequestHeader("authorization", `Bearer ${token() ?? ""}`);
    request.setRequestHeader("content-type", "text/csv");
    request.upload.onprogress = (event) =>
      event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Problem(0, "network", "Connection lost."));
    request.onload = () => {
      const body: unknown = JSON.parse(request.responseText || "{}");
      if (request.status < 300) resolve((body as { data: Import }).data);
      else reject(problemOf(body, new Response(null, { status: request.status })));
    };
    request.send(file);
  });
}

/** All contacts of an audience, as the server writes them. */
export async function exported(projectId: string, audienceId: string): Promise<Blob> {
  const response = await fetch(
    `/api/projects/${projectId}/mail/audiences/${audienceId}/contacts/export`,
    {
      headers: { authorization: `Bearer ${token() ?? ""}` },
    },
  );
  if (!response.ok) throw problemOf(await response.json(), response);
  return response.blob();
}
