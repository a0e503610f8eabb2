import { Button, PasswordInput, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { useSignIn } from "../api/account";
import { asProblem, inWords } from "../api/errors";

export function SignInForm({ onDone }: { onDone?: () => void }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const signIn = useSignIn();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate({ email: email.trim(), password }, { onSuccess: onDone });
  };
  return (
    <form onSubmit={submit} className="stack">
      <TextInput
        label="Email"
        type="email"
        autoComplete="username"
        required
        withAsterisk={false}
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
      />
      <PasswordInput
        label="Password"
        autoComplete="current-password"
        required
        withAsterisk={false}
        value={password}
        onChange={(event) => setPassword(event.currentTarget.value)}
        visibilityToggleButtonProps={{ "aria-label": "Show the password" }}
      />
      {signIn.error && (
        <div className="notice" data-tone="error" role="alert">
          {said(signIn.error)}
        </div>
      )}
      <Button type="submit" size="md" loading={signIn.isPending} fullWidth>
        Sign in
      </Button>
    </form>
  );
}

function said(error: unknown): string {
  const problem = asProblem(error);
  if (problem.status === 401) return "Email or password is not right.";
  if (problem.status === 429)
    return `Too many attempts. Try again in ${inWords(problem.retryAfter ?? 60)}.`;
  return problem.message;
}
