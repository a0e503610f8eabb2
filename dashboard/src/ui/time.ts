const DAY = 86_400;

export function ago(at: number, now: number): string {
  const seconds = Math.round((now - at) / 1000);
  if (seconds < 0) return ahead(-seconds);
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < DAY) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 30 * DAY) return `${Math.floor(seconds / DAY)} d ago`;
  return new Date(at).toLocaleDateString(undefined, {
    day: "numeric",
    month: "short",
    year: "numeric",
  });
}

function ahead(seconds: number): string {
  if (seconds < 10) return "just now";
  if (seconds < 60) return `in ${seconds} s`;
  if (seconds < 3600) return `in ${Math.ceil(seconds / 60)} min`;
  if (seconds < DAY) return `in ${Math.ceil(seconds / 3600)} h`;
  return `in ${Math.ceil(seconds / DAY)} d`;
}

/** 20 Nov 2026, 12:03:11.204 GMT+1 */
export function exact(at: string): string {
  const date = new Date(at);
  return date.toLocaleString("en-GB", {
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    fractionalSecondDigits: 3,
    timeZoneName: "short",
  });
}

/** 0.04 s, 1.9 s, 2 min 5 s */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < DAY)
    return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / DAY)} d ${Math.round((seconds % DAY) / 3600)} h`;
}

export const number = (value: number): string => value.toLocaleString("en-US");

export function percent(rate: number | null | undefined): string {
  if (rate === null || rate === undefined) return "–";
  const value = rate * 100;
  return `${value.toFixed(value > 0 && value < 0.1 ? 2 : 1)} %`;
}
