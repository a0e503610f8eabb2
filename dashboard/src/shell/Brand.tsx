import { Mail } from "lucide-react";

export function Brand() {
  return (
    <span className="brand">
      <Mail size={20} aria-hidden /> Postroom
    </span>
  );
}
