import { Button, PasswordInput, Switch } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { useChangePassword, useMe } from "../api/account";
import { shortcutsOn, switchShortcuts } from "../shell/preferences";
import { Page, Panel } from "../ui/Page";
import { Failed } from "../ui/states";

export default function Account() {
  const me = useMe();
  const [on, setOn] = useState(shortcutsOn());
  return (
    <Page title="Account">
      <div className="stack">
        <Panel title="You">
          <dl className="facts">
            <dt>Email</dt>
            <dd>{me.data?.email ?? "…"}</dd>
            <dt>Name</dt>
            <dd>{me.data?.name ?? "–"}</dd>
          </dl>
        </Panel>
        <Panel title="Keyboard">
          <Switch
            label="Single-key shortcuts"
            description="j, k, g and others outside of fields. ⌘K works either way."
            checked={on}
            onChange={(event) => {
              switchShortcuts(event.currentTarget.checked);
              setOn(event.currentTarget.checked);
            }}
          />
        </Panel>
        <Panel title="Password">
          <PasswordForm />
        </Panel>
      </div>
    </Page>
  );
}

function PasswordForm() {
  const [now, setNow] = useState("");
  const [next, setNext] = useState("");
  const change = useChangePassword();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate(
      { currentPassword: now, newPassword: next },
      {
        onSuccess: () => {
          setNow("");
          setNext("");
          notifications.show({ message: "Password changed. Other browsers are signed out." });
        },
      },
    );
  };
  return (
    <form onSubmit={submit} className="stack narrow">
      <PasswordInput
        label="Current password"
        autoComplete="current-password"
        required
        value={now}
        onChange={(event) => setNow(event.currentTarget.value)}
        visibilityToggleButtonProps={{ "aria-label": "Show the current password" }}
      />
      <PasswordInput
        label="New password"
        description="At least 12 characters. All other sessions end."
        autoComplete="new-password"
        required
        minLength={12}
        value={next}
        onChange={(event) => setNext(event.currentTarget.value)}
        visibilityToggleButtonProps={{ "aria-label": "Show the new password" }}
      />
      {change.error && <Failed error={change.error} />}
      <div>
        <Button type="submit" loading={change.isPending}>
          Change the password
        </Button>
      </div>
    </form>
  );
}
