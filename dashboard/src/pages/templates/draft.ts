import type { Template } from "../../api/templates";

export interface Draft {
  name: string;
  key: string;
  subject: string;
  html: string;
  text: string;
}

export const BLANK: Template = {
  id: "",
  key: "",
  name: "",
  subject: "Hello {{name}}",
  html: "<h1>Hello {{name}}</h1>\n<p>Welcome to {{projectName}}.</p>\n",
  text: "Hello {{name}}",
  scope: "project",
  isSystem: false,
  updatedAt: new Date(0).toISOString(),
};

/** A copy of a global one keeps its key, so that it takes its place; a copy of an own one needs another. */
export function copyOf(template: Template): Template {
  return template.scope === "global"
    ? { ...template, scope: "project" }
    : { ...template, name: `${template.name} copy`, key: "", scope: "project" };
}

export function draftOf(template: Template): Draft {
  return {
    name: template.name,
    key: template.key,
    subject: template.subject,
    html: template.html ?? "",
    text: template.text ?? "",
  };
}

/** Sample variables are kept in this browser, for each template. */
const place = (projectId: string, id: string | null) =>
  `postroom-sample-${projectId}-${id ?? "new"}`;

export function sampleOf(projectId: string, id: string | null): string {
  return (
    localStorage.getItem(place(projectId, id)) ??
    '{\n  "name": "Ada",\n  "projectName": "Example"\n}'
  );
}

export function keepSample(projectId: string, id: string | null, sample: string): void {
  localStorage.setItem(place(projectId, id), sample);
}

export function parsed(sample: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(sample.trim() || "{}");
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** The sample with the variables that a template asks for and that it has not. */
export function withMissing(sample: string, missing: string[]): string {
  const value = parsed(sample) ?? {};
  for (const path of missing) {
    const names = path.split(".").filter((name) => name && name !== "this");
    let here: Record<string, unknown> = value;
    names.forEach((name, index) => {
      if (index === names.length - 1) here[name] ??= name;
      else {
        if (typeof here[name] !== "object" || here[name] === null) here[name] = {};
        here = here[name] as Record<string, unknown>;
      }
    });
  }
  return JSON.stringify(value, null, 2);
}
