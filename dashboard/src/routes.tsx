// The map of addresses: one line a page.
import { lazy } from "react";
import { createBrowserRouter, Navigate, Outlet } from "react-router";
import { SignIn } from "./pages/SignIn";
import { Crash } from "./shell/Crash";
import { Protected } from "./shell/Protected";
import { Shell } from "./shell/Shell";

const Register = lazy(() => import("./pages/Register"));
const Projects = lazy(() => import("./pages/Projects"));
const Account = lazy(() => import("./pages/Account"));
const Overview = lazy(() => import("./pages/overview/Overview"));
const Logs = lazy(() => import("./pages/logs/Logs"));
const Templates = lazy(() => import("./pages/templates/Templates"));
const Template = lazy(() => import("./pages/templates/Template"));
const Audiences = lazy(() => import("./pages/audiences/Audiences"));
const Import = lazy(() => import("./pages/audiences/Import"));
const Broadcasts = lazy(() => import("./pages/broadcasts/Broadcasts"));
const Broadcast = lazy(() => import("./pages/broadcasts/Broadcast"));
const Compose = lazy(() => import("./pages/broadcasts/Compose"));
const Settings = lazy(() => import("./pages/settings/Settings"));

export const router = createBrowserRouter([
  { path: "/", element: <SignIn />, errorElement: <Crash /> },
  {
    element: <Protected />,
    errorElement: <Crash />,
    children: [
      { path: "/projects", element: <Projects /> },
      {
        path: "/project/:projectId",
        element: <Shell />,
        children: [
          { index: true, element: <Navigate to="mail/logs" replace /> },
          {
            path: "mail",
            element: <Outlet />,
            children: [
              { index: true, element: <Navigate to="logs" replace /> },
              { path: "overview", element: <Overview /> },
              { path: "logs", element: <Logs /> },
              { path: "templates", element: <Templates /> },
              { path: "templates/:templateId", element: <Template /> },
              { path: "audiences", element: <Audiences /> },
              { path: "audiences/:audienceId", element: <Audiences /> },
              { path: "audiences/:audienceId/imports/:importId", element: <Import /> },
              { path: "broadcasts", element: <Broadcasts /> },
              { path: "broadcasts/new", element: <Compose /> },
              { path: "broadcasts/:broadcastId", element: <Broadcast /> },
              { path: "broadcasts/:broadcastId/edit", element: <Compose /> },
              { path: "settings", element: <Navigate to="providers" replace /> },
              { path: "settings/:section", element: <Settings /> },
              { path: "settings/:section/:name", element: <Settings /> },
              { path: "settings/:section/:name/:part", element: <Settings /> },
            ],
          },
          { path: "account", element: <Account /> },
        ],
      },
    ],
  },
  { path: "/register", element: <Register />, errorElement: <Crash /> },
]);
