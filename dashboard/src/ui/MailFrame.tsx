import { Button, SegmentedControl } from "@mantine/core";
import { useEffect, useId, useRef, useState } from "react";

const WIDTHS = { phone: "375px", tablet: "768px", full: "100%" } as const;
type Width = keyof typeof WIDTHS;
const MOST = 5_000_000;

/** A mail's HTML in a frame in which it can do nothing; images from elsewhere load on a click alone. */
export function MailFrame({ html, title = "Rendered mail" }: { html: string; title?: string }) {
  const [width, setWidth] = useState<Width>("full");
  const [images, setImages] = useState(false);
  const remote = countRemote(html);
  if (html.length > MOST)
    return <p className="dimmed">This mail is larger than 5 MB: read its text or its source.</p>;
  return (
    <div className="mail-frame">
      <div className="mail-frame-bar">
        <SegmentedControl
          size="xs"
          aria-label="Width of the mail"
          value={width}
          onChange={(value) => setWidth(value as Width)}
          data={[
            { value: "phone", label: "Phone" },
            { value: "tablet", label: "Tablet" },
            { value: "full", label: "Full" },
          ]}
        />
        {remote > 0 && !images && (
          <div className="small">
            {remote === 1 ? "1 remote image" : `${remote} remote images`} not loaded. Loading tells
            the sender you looked.{" "}
            <Button size="compact-xs" variant="default" onClick={() => setImages(true)}>
              Load images
            </Button>
          </div>
        )}
      </div>
      <div className="mail-frame-ground" data-width={width}>
        <Frames html={html} images={images} title={title} />
      </div>
    </div>
  );
}

const REMOTE =
  /<img\b[^>]*?\ssrc\s*=\s*["']?\s*(?:https?:)?\/\/|\sbackground\s*=\s*["']?\s*(?:https?:)?\/\/|url\(\s*["']?\s*(?:https?:)?\/\//gi;

function countRemote(html: string): number {
  return html.match(REMOTE)?.length ?? 0;
}

/** Two frames that take turns: the new one is shown when it has loaded, so nothing flickers. */
function Frames({ html, images, title }: { html: string; images: boolean; title: string }) {
  const base = useId();
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const holder = place.current;
    if (!holder) return;
    const name = `${base}-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    const frame = newFrame(name, title);
    const before = [...holder.children];
    frame.addEventListener("load", () => {
      for (const old of before) old.remove();
      frame.classList.add("shown");
    });
    // A fresh frame adds no entry to the browser's history.
    holder.append(frame);
    post(name, html, images);
    return () => {
      if (!frame.classList.contains("shown")) frame.remove();
    };
  }, [html, images, title, base]);
  return <div ref={place} className="frames" />;
}

function newFrame(name: string, title: string): HTMLIFrameElement {
  const frame = document.createElement("iframe");
  frame.name = name;
  frame.title = title;
  frame.setAttribute("sandbox", "allow-popups allow-popups-to-escape-sandbox");
  return frame;
}

function post(target: string, html: string, images: boolean): void {
  const form = document.createElement("form");
  form.method = "post";
  form.action = "/mail-view";
  form.enctype = "multipart/form-data";
  form.target = target;
  form.hidden = true;
  for (const [name, value] of [
    ["html", html],
    ["images", images ? "1" : ""],
  ] as const) {
    const field = document.createElement("textarea");
    field.name = name;
    field.value = value;
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}
