import { autocompletion, closeBrackets } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { html } from "@codemirror/lang-html";
import { json } from "@codemirror/lang-json";
import { bracketMatching, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState, type Extension } from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  drawSelection,
  EditorView,
  highlightActiveLine,
  keymap,
  lineNumbers,
  MatchDecorator,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import { nonce } from "../theme/nonce";

export interface Mark {
  line: number;
  column: number;
  message: string;
}

interface Props {
  value: string;
  language: "html" | "text" | "json";
  label: string;
  marks?: Mark[];
  readOnly?: boolean;
  onChange?: (value: string) => void;
}

export default function Editor({
  value,
  language,
  label,
  marks,
  readOnly = false,
  onChange,
}: Props) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const changed = useRef(onChange);
  changed.current = onChange;
  // biome-ignore lint/correctness/useExhaustiveDependencies: later values come by the effect below
  useEffect(() => {
    const made = new EditorView({
      parent: place.current!,
      state: EditorState.create({
        doc: value,
        extensions: [
          ...COMMON,
          language === "html" ? html() : language === "json" ? json() : [],
          language === "json" ? [] : blanks,
          EditorState.readOnly.of(readOnly),
          EditorView.contentAttributes.of({ "aria-label": label }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) changed.current?.(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    return () => made.destroy();
  }, [language, label, readOnly]);
  useEffect(() => {
    const now = view.current;
    if (now && now.state.doc.toString() !== value)
      now.dispatch({ changes: { from: 0, to: now.state.doc.length, insert: value } });
  }, [value]);
  useEffect(() => {
    const now = view.current;
    if (now)
      now.dispatch(
        setDiagnostics(
          now.state,
          (marks ?? []).map((mark) => diagnostic(now.state, mark)),
        ),
      );
  }, [marks]);
  return <div ref={place} className="editor" />;
}

function diagnostic(state: EditorState, { line, column, message }: Mark): Diagnostic {
  const at = state.doc.line(Math.min(Math.max(1, line), state.doc.lines));
  const from = Math.min(at.from + Math.max(0, column - 1), at.to);
  return { from, to: Math.min(from + 2, at.to), severity: "error", message };
}

/** `{{…}}` stands out, wherever it is. */
const matcher = new MatchDecorator({
  regexp: /\{\{\{?[^{}]*\}?\}\}/g,
  decoration: Decoration.mark({ class: "cm-blank" }),
});
const blanks = ViewPlugin.fromClass(
  class {
    marks: DecorationSet;
    constructor(view: EditorView) {
      this.marks = matcher.createDeco(view);
    }
    update(update: ViewUpdate) {
      this.marks = matcher.updateDeco(update, this.marks);
    }
  },
  { decorations: (plugin) => plugin.marks },
);

const colours = HighlightStyle.define([
  { tag: [tags.tagName, tags.keyword], color: "var(--pr-code-tag)" },
  { tag: [tags.attributeName, tags.propertyName], color: "var(--pr-code-name)" },
  { tag: [tags.string, tags.attributeValue], color: "var(--pr-code-text)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--pr-code-brace)" },
  { tag: [tags.comment, tags.angleBracket], color: "var(--pr-dimmed)" },
]);

const look = EditorView.theme({
  "&": { fontSize: "12px", backgroundColor: "var(--pr-panel)", color: "var(--pr-text)" },
  "&.cm-focused": { outline: "2px solid var(--mantine-color-ink-5)" },
  ".cm-scroller": { fontFamily: "var(--mantine-font-family-monospace)", lineHeight: "1.6" },
  ".cm-gutters": {
    backgroundColor: "var(--pr-page)",
    color: "var(--pr-dimmed)",
    borderRight: "1px solid var(--pr-line)",
  },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--pr-selected) 45%, transparent)" },
  ".cm-cursor": { borderLeftColor: "var(--pr-text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
    {
      backgroundColor: "color-mix(in srgb, var(--mantine-color-ink-4) 35%, transparent)",
    },
  ".cm-blank": { color: "var(--pr-code-brace)", fontWeight: "600" },
  ".cm-tooltip, .cm-panels": {
    backgroundColor: "var(--pr-panel)",
    color: "var(--pr-text)",
    border: "1px solid var(--pr-control)",
  },
});

const COMMON: Extension[] = [
  EditorView.cspNonce.of(nonce),
  lineNumbers(),
  history(),
  drawSelection(),
  bracketMatching(),
  closeBrackets(),
  autocompletion(),
  highlightActiveLine(),
  highlightSelectionMatches(),
  lintGutter(),
  EditorView.lineWrapping,
  syntaxHighlighting(colours),
  look,
  // Esc, then Tab, leaves the editor: CodeMirror's own way for people without a mouse.
  keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap, indentWithTab]),
];
