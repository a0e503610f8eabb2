import { type ReactNode, useEffect } from "react";

interface Props {
  title: string;
  /** Of the project, for the window's title. */
  where?: string;
  actions?: ReactNode;
  children: ReactNode;
}

export function Page({ title, where, actions, children }: Props) {
  useEffect(() => {
    document.title = [title, where, "Postroom"].filter(Boolean).join(" · ");
  }, [title, where]);
  return (
    <>
      <header className="page-head">
        <h1>{title}</h1>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Panel({
  title,
  children,
  aside,
}: {
  title?: string;
  children: ReactNode;
  aside?: ReactNode;
}) {
  return (
    <section className="panel padded">
      {(title || aside) && (
        <header className="panel-head">
          {title && <h2>{title}</h2>}
          {aside}
        </header>
      )}
      {children}
    </section>
  );
}
