// The sign-in, shared by all tabs of this browser: one key of local storage.
const KEY = "postroom-token";

const listeners = new Set<() => void>();

export function token(): string | null {
  return localStorage.getItem(KEY);
}

export function setToken(value: string | null): void {
  if (value === null) localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, value);
  for (const tell of listeners) tell();
}

export function onToken(tell: () => void): () => void {
  listeners.add(tell);
  const other = (event: StorageEvent) => {
    if (event.key === KEY) tell();
  };
  window.addEventListener("storage", other);
  return () => {
    listeners.delete(tell);
    window.removeEventListener("storage", other);
  };
}
