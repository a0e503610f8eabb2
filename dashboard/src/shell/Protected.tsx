import { Loader, Modal } from "@mantine/core";
import { Suspense, useState } from "react";
import { Navigate, Outlet, useLocation } from "react-router";
import { useToken } from "../api/account";
import { SignInForm } from "./SignInForm";

/** Pages for people who are signed in. A session that ends is asked for over the page; work is kept. */
export function Protected() {
  const bearer = useToken();
  const here = useLocation();
  const [cameSignedIn] = useState(bearer !== null);
  if (!cameSignedIn && bearer === null)
    return <Navigate to={`/?next=${encodeURIComponent(here.pathname + here.search)}`} replace />;
  return (
    <>
      <Suspense fallback={<Loader type="dots" m="xl" aria-label="Loading" />}>
        <Outlet />
      </Suspense>
      <Modal
        opened={bearer === null}
        onClose={() => undefined}
        withCloseButton={false}
        closeOnEscape={false}
        closeOnClickOutside={false}
        title="Your session is over"
        centered
      >
        <SignInForm />
      </Modal>
    </>
  );
}
