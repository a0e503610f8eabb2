import { useEffect } from "react";
import { Link, Navigate, useNavigate, useSearchParams } from "react-router";
import { useToken } from "../api/account";
import { Brand } from "../shell/Brand";
import { SignInForm } from "../shell/SignInForm";

export function SignIn() {
  const bearer = useToken();
  const navigate = useNavigate();
  const [search] = useSearchParams();
  const next = search.get("next");
  const to = next?.startsWith("/project") ? next : "/projects";
  useEffect(() => {
    document.title = "Sign in · Postroom";
  }, []);
  if (bearer !== null) return <Navigate to={to} replace />;
  return (
    <main className="door">
      <Brand />
      <div className="panel door-panel">
        <h1>Sign in</h1>
        <SignInForm onDone={() => navigate(to, { replace: true })} />
      </div>
      <p className="dimmed">
        First time here? <code>make run</code> printed the address and password. On a new server,{" "}
        <Link to="/register">make the first account</Link>.
      </p>
    </main>
  );
}
