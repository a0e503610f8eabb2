import { Progress } from "@mantine/core";
import { number } from "./time";

/** Used of a limit; -1 means unlimited. */
export function Meter({ used, limit, label }: { used: number; limit: number; label: string }) {
  const share = limit > 0 ? Math.min(100, (100 * used) / limit) : 0;
  return (
    <div data-testid="quota">
      <div className="meter-words">
        <span>{label}</span>
        <span>
          {number(used)} {limit < 0 ? "· unlimited" : `of ${number(limit)}`}
        </span>
      </div>
      {limit >= 0 && (
        <Progress.Root size={6}>
          <Progress.Section
            value={share}
            color={share >= 100 ? "red.8" : share >= 80 ? "orange.8" : undefined}
            aria-label={label}
          />
        </Progress.Root>
      )}
    </div>
  );
}
