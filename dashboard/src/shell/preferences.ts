// The few things this browser remembers of a person besides the sign-in and the theme.
const SHORTCUTS = "postroom-shortcuts";

export const shortcutsOn = (): boolean => localStorage.getItem(SHORTCUTS) !== "off";

export function switchShortcuts(on: boolean): void {
  if (on) localStorage.removeItem(SHORTCUTS);
  else localStorage.setItem(SHORTCUTS, "off");
}
