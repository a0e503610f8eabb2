import type { Broadcast } from "../../api/broadcasts";

const WORDS: Record<string, [string, string | undefined]> = {
  draft: ["Draft", undefined],
  scheduled: ["Scheduled", "ink"],
  queued: ["Sending", "ink"],
  sending: ["Sending", "ink"],
  paused: ["Paused", "amber"],
  sent: ["Sent", "good"],
  canceled: ["Canceled", undefined],
};

export const PAUSES: Record<string, string> = {
  monthly_limit: "This month's quota is used up. It goes on when there is room again.",
  by_hand: "Somebody paused it.",
};

export function State({ broadcast }: { broadcast: Broadcast }) {
  const [word, tone] = WORDS[broadcast.status ?? ""] ?? [broadcast.status ?? "–", undefined];
  return (
    <span className="pill" data-tone={tone} data-testid="broadcast-status">
      {word}
    </span>
  );
}
