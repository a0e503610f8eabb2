import { Button, PasswordInput, TextInput } from "@mantine/core";
import { type FormEvent, useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";
import { useRegister, useSignIn } from "../api/account";
import { asProblem } from "../api/errors";
import { Brand } from "../shell/Brand";
import { Failed } from "../ui/states";

export default function Register() {
  const [email, setEmail] = useState("");
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const register = useRegister();
  const signIn = useSignIn();
  const navigate = useNavigate();
  useEffect(() => {
    document.title = "Make an account · Postroom";
  }, []);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    await register.mutateAsync({ email: email.trim(), password, name: name.trim() || undefined });
    await signIn.mutateAsync({ email: email.trim(), password });
    navigate("/projects");
  };
  const problem = register.error ? asProblem(register.error) : null;
  return (
    <main className="door">
      <Brand />
      <div className="panel door-panel">
        <h1>Make an account</h1>
        <form onSubmit={(event) => void submit(event).catch(() => undefined)} className="stack">
          <TextInput
            label="Email"
            type="email"
            autoComplete="username"
            required
            value={email}
            error={problem?.at("email")}
            onChange={(event) => setEmail(event.currentTarget.value)}
          />
          <TextInput
            label="Name"
            autoComplete="name"
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <PasswordInput
            label="Password"
            description="At least 12 characters."
            autoComplete="new-password"
            required
            minLength={12}
            value={password}
            error={problem?.at("password")}
            onChange={(event) => setPassword(event.currentTarget.value)}
            visibilityToggleButtonProps={{ "aria-label": "Show the password" }}
          />
          {problem && problem.issues.length === 0 && <Failed error={problem} />}
          <Button type="submit" size="md" loading={register.isPending || signIn.isPending}>
            Make the account
          </Button>
        </form>
      </div>
      <p className="dimmed">
        <Link to="/">Sign in instead</Link>
      </p>
    </main>
  );
}
