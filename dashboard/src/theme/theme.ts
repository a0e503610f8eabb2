import {
  ActionIcon,
  Button,
  type CSSVariablesResolver,
  createTheme,
  Drawer,
  type MantineColorsTuple,
  Modal,
} from "@mantine/core";

const ink: MantineColorsTuple = [
  "#eef1fd",
  "#dbe1fa",
  "#b5c1f3",
  "#8c9fed",
  "#6a82e7",
  "#546fe4",
  "#4865e3",
  "#3550c8",
  "#2d47b4",
  "#223ca0",
];

export const theme = createTheme({
  primaryColor: "ink",
  primaryShade: { light: 7, dark: 6 },
  colors: { ink },
  fontFamily:
    '"Inter Variable", Inter, system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif',
  fontFamilyMonospace:
    'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
  fontSizes: { xs: "12px", sm: "13px", md: "14px", lg: "16px", xl: "20px" },
  lineHeights: { xs: "1.35", sm: "1.45", md: "1.5", lg: "1.4", xl: "1.3" },
  spacing: { xs: "8px", sm: "12px", md: "16px", lg: "24px", xl: "32px" },
  radius: { xs: "4px", sm: "5px", md: "8px", lg: "8px", xl: "999px" },
  defaultRadius: "sm",
  focusRing: "auto",
  cursorType: "pointer",
  respectReducedMotion: true,
  headings: {
    fontWeight: "600",
    sizes: {
      h1: { fontSize: "20px", lineHeight: "1.3" },
      h2: { fontSize: "16px", lineHeight: "1.4" },
      h3: { fontSize: "14px", lineHeight: "1.5" },
    },
  },
  components: {
    // The kit leaves these without a name for those who cannot see the cross.
    Modal: Modal.extend({
      defaultProps: {
        closeButtonProps: { "aria-label": "Close" },
        transitionProps: { duration: 120 },
      },
    }),
    Drawer: Drawer.extend({
      defaultProps: {
        closeButtonProps: { "aria-label": "Close" },
        transitionProps: { duration: 120 },
      },
    }),
    Button: Button.extend({ defaultProps: { size: "sm" } }),
    ActionIcon: ActionIcon.extend({ defaultProps: { variant: "subtle", color: "gray" } }),
  },
});

// The kit's own dimmed and placeholder colours are too weak to read; these keep AA.
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-body": "var(--pr-page)",
    "--mantine-color-text": "var(--pr-text)",
    "--mantine-color-dimmed": "var(--pr-dimmed)",
    "--mantine-color-placeholder": "var(--pr-placeholder)",
    "--mantine-color-default": "var(--pr-panel)",
    "--mantine-color-default-border": "var(--pr-control)",
    "--mantine-color-anchor": "var(--pr-link)",
    "--mantine-color-error": "#a01c28",
  },
  dark: {
    "--mantine-color-body": "var(--pr-page)",
    "--mantine-color-text": "var(--pr-text)",
    "--mantine-color-dimmed": "var(--pr-dimmed)",
    "--mantine-color-placeholder": "var(--pr-placeholder)",
    "--mantine-color-default": "var(--pr-panel)",
    "--mantine-color-default-hover": "#22262b",
    "--mantine-color-default-border": "var(--pr-control)",
    "--mantine-color-anchor": "var(--pr-link)",
    "--mantine-color-error": "#ff9ea4",
  },
});
