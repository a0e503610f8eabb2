import { createContext, useContext } from "react";
import type { Project } from "../api/projects";

const Context = createContext<Project | null>(null);

export const ProjectProvider = Context.Provider;

/** The project whose page this is. */
export function useThisProject(): Project {
  const project = useContext(Context);
  if (!project) throw new Error("This component stands outside of a project's page.");
  return project;
}

/** Who may change things; what somebody may not do is not drawn. */
export function useMayChange(): boolean {
  return useThisProject().role !== "viewer";
}
