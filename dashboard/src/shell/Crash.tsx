import { Button } from "@mantine/core";
import { isRouteErrorResponse, useRouteError } from "react-router";
import { Empty } from "../ui/states";

/** The last net: an address that is none, or a page that could not be drawn. */
export function Crash() {
  const error = useRouteError();
  if (isRouteErrorResponse(error) && error.status === 404)
    return (
      <main>
        <Empty title="There is nothing at this address.">
          <Button component="a" href="/projects">
            To the projects
          </Button>
        </Empty>
      </main>
    );
  return (
    <main>
      <Empty title="This page could not be shown.">
        <p>Most often a new version was installed while this tab was open.</p>
        <Button onClick={() => location.reload()}>Load it again</Button>
      </Empty>
    </main>
  );
}
