import { useEffect } from "react";
import { useBlocker } from "react-router";
import { Confirm } from "../ui/Confirm";

/** Asks before what was written is left behind. */
export function Unsaved({ when }: { when: boolean }) {
  const blocker = useBlocker(
    ({ currentLocation, nextLocation }) =>
      when && currentLocation.pathname !== nextLocation.pathname,
  );
  useEffect(() => {
    if (!when) return;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [when]);
  return (
    <Confirm
      opened={blocker.state === "blocked"}
      title="Leave without saving"
      action="Leave without saving"
      onClose={() => blocker.reset?.()}
      onConfirm={() => blocker.proceed?.()}
    >
      What you have changed here is not saved yet.
    </Confirm>
  );
}
