import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { http, type Schemas, take } from "./client";
import { onToken, setToken, token } from "./token";

export type User = Schemas["User"];

export function useToken(): string | null {
  return useSyncExternalStore(onToken, token);
}

export function useMe() {
  const bearer = useToken();
  return useQuery({
    queryKey: ["me"],
    queryFn: () => take(http.GET("/api/auth/me")),
    enabled: bearer !== null,
    staleTime: 300_000,
  });
}

export function useSignIn() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: { email: string; password: string }) =>
      take(http.POST("/api/auth/login", { body })),
    onSuccess: (signedIn) => {
      setToken(signedIn.token);
      queries.setQueryData(["me"], signedIn.user);
      // What failed because nobody was signed in is asked for again.
      void queries.invalidateQueries();
    },
  });
}

export function useRegister() {
  return useMutation({
    mutationFn: (body: { email: string; password: string; name?: string }) =>
      take(http.POST("/api/auth/register", { body })),
  });
}

export function useChangePassword() {
  return useMutation({
    mutationFn: (body: { currentPassword: string; newPassword: string }) =>
      take(http.POST("/api/auth/password", { body })),
    onSuccess: (signedIn) => setToken(signedIn.token),
  });
}

export function signOut(): void {
  setToken(null);
}
