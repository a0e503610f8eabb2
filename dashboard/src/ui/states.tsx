// The states that every page has: empty, locked, wrong, loading.
import { Button, Skeleton } from "@mantine/core";
import { CircleQuestionMark, Lock, OctagonAlert } from "lucide-react";
import type { ReactNode } from "react";
import { asProblem, cure } from "../api/errors";

export type Tone = "info" | "warning" | "error" | "done";

export function Notice({
  tone = "info",
  title,
  children,
}: {
  tone?: Tone;
  title?: string;
  children?: ReactNode;
}) {
  return (
    <div className="notice" data-tone={tone} role={tone === "error" ? "alert" : "status"}>
      {title && <strong>{title}</strong>}
      {children && <div>{children}</div>}
    </div>
  );
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = asProblem(error);
  const advice = cure(problem);
  return (
    <div className="notice" data-tone="error" role="alert">
      <strong>
        <OctagonAlert size={15} aria-hidden /> {problem.message}
      </strong>
      {advice && <div>{advice}</div>}
      {problem.requestId && problem.status >= 500 && (
        <div className="small">
          Request id <code>{problem.requestId}</code>
        </div>
      )}
      {retry && (
        <Button size="compact-sm" variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <CircleQuestionMark size={28} strokeWidth={1.5} aria-hidden />
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Locked({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="empty" data-testid="locked">
      <Lock size={28} strokeWidth={1.5} aria-hidden />
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Loading({ rows = 6, height = 40 }: { rows?: number; height?: number }) {
  return (
    <div aria-busy="true">
      <span className="visually-hidden">Loading</span>
      {Array.from({ length: rows }, (_, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
        <Skeleton key={i} height={height - 12} my={6} radius="sm" />
      ))}
    </div>
  );
}
