// Before the first paint: a classic script from our own origin, because the policy allows no inline one.
(() => {
  let wanted = "auto";
  try {
    wanted = localStorage.getItem("mantine-color-scheme-value") || "auto";
  } catch {
    // Storage may be forbidden; the system's scheme is a good answer then.
  }
  const dark =
    wanted === "dark" || (wanted !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();
