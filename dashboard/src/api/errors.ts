// What went wrong, as the server said it, and what one can do about it.

export interface Issue {
  path: string;
  message: string;
  line?: number | null;
  column?: number | null;
}

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly issues: Issue[] = [],
    readonly requestId: string | null = null,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }

  get offline(): boolean {
    return this.status === 0;
  }

  at(path: string): string | undefined {
    return this.issues.find((issue) => issue.path === path)?.message;
  }
}

const CURES: Record<string, string> = {
  monthly_limit_exceeded:
    "The quota turns with the month. A larger plan is set by an operator of this server.",
  rate_limited: "Wait a moment; it goes on by itself.",
  no_sender: "Set a sender under Providers & settings, Sending.",
  credentials_refused: "Check the key at the provider and paste it again.",
  already_handed_over: "Mails that were handed over cannot be called back.",
  provider_unreachable: "The provider does not answer. Try again in a minute.",
  provider_timeout: "The provider is slow at the moment. Try again in a minute.",
  overloaded: "The server is busy or its database is away. It goes on by itself.",
  network: "The server cannot be reached from this browser.",
};

export function cure(problem: Problem): string | undefined {
  return CURES[problem.code];
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(0, "network", "Connection lost.");
}

/** "Too many attempts. Try again in 12 minutes." */
export function inWords(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.ceil(seconds))} seconds`;
  const minutes = Math.ceil(seconds / 60);
  return minutes === 1
    ? "1 minute"
    : minutes < 120
      ? `${minutes} minutes`
      : `${Math.ceil(minutes / 60)} hours`;
}
