import createClient from "openapi-fetch";
import { asProblem, Problem } from "./errors";
import type { components, paths } from "./schema";
import { setToken, token } from "./token";

export type Schemas = components["schemas"];

export const http = createClient<paths>({
  // Repeated names for several values, as our queries are read.
  querySerializer: { array: { style: "form", explode: true } },
});

http.use({
  onRequest({ request }) {
    const bearer = token();
    if (bearer) request.headers.set("authorization", `Bearer ${bearer}`);
    return request;
  },
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The whole body of an answer, or the Problem that it tells. */
export async function whole<T>(call: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await call;
  } catch (error) {
    throw asProblem(error);
  }
  if (answer.response.ok && answer.data !== undefined) return answer.data;
  throw problemOf(answer.error, answer.response);
}

/** The data of an answer, or the Problem that it tells. */
export async function take<T>(call: Promise<Answer<{ data: T }>>): Promise<T> {
  return (await whole(call)).data;
}

export function problemOf(body: unknown, response: Response): Problem {
  const said = (typeof body === "object" && body !== null ? body : {}) as Partial<
    Schemas["Failure"]
  >;
  const problem = new Problem(
    response.status,
    said.code ?? "unexpected",
    said.message ?? "The server gave an answer that cannot be read.",
    said.issues ?? [],
    response.headers.get("x-request-id"),
    Number(response.headers.get("retry-after")) || null,
  );
  // A session that is over is asked for again over the page; a wrong password is not one.
  if (problem.status === 401 && !response.url.includes("/api/auth/")) setToken(null);
  return problem;
}
