import { nonce } from "./theme/nonce";
import "@fontsource-variable/inter/wght.css";
import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./theme/tokens.css";
import "./ui/ui.css";
import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RouterProvider } from "react-router";
import { Problem } from "./api/errors";
import { logsQuery } from "./api/mails";
import { token } from "./api/token";
import { filtersOf } from "./pages/logs/filters";
import { router } from "./routes";
import { theme, variables } from "./theme/theme";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (count, error) =>
        count < 2 && !(error instanceof Problem && error.status > 0 && error.status < 500),
      refetchOnWindowFocus: true,
      staleTime: 1_000,
    },
  },
});

// The log is where most people go: its code and its first rows are on their way before React is.
const log = /^\/project\/([^/]+)\/mail\/logs$/.exec(location.pathname);
if (log?.[1] && token()) {
  void import("./pages/logs/Logs");
  void queries.prefetchQuery(logsQuery(log[1], filtersOf(new URLSearchParams(location.search))));
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider
      theme={theme}
      cssVariablesResolver={variables}
      defaultColorScheme="auto"
      getStyleNonce={() => nonce}
    >
      <Notifications position="bottom-right" />
      <QueryClientProvider client={queries}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
