// What each provider is set up with, in a person's words and with where to find it.

export interface FieldSpec {
  name: string;
  label: string;
  hint?: string;
  secret?: boolean;
  required?: boolean;
  kind?: "text" | "number" | "switch" | "choice" | "lines" | "area";
  choices?: string[];
}

export interface Vendor {
  title: string;
  says: string;
  fields: FieldSpec[];
}

const COMMON: FieldSpec[] = [
  {
    name: "fromEmail",
    label: "Sender",
    hint: "Used when a request names none, such as App <me@example.com>. Its domain must be verified there.",
  },
  {
    name: "ratePerSecond",
    label: "Calls a second, at most",
    hint: "Empty: what the provider allows.",
    kind: "number",
  },
];

const PHI: FieldSpec = {
  name: "phiAllowed",
  label: "May carry health data",
  hint: "Only with a signed agreement (BAA) with this provider.",
  kind: "switch",
};

export const VENDORS: Record<string, Vendor> = {
  resend: {
    title: "Resend",
    says: "API, batches of 100, its own audiences and broadcasts.",
    fields: [
      {
        name: "apiKey",
        label: "API key",
        hint: "Resend, API Keys; it starts with re_.",
        secret: true,
        required: true,
      },
      {
        name: "webhookSecret",
        label: "Webhook signing secret",
        hint: "Resend, Webhooks, after adding the address below; it starts with whsec_.",
        secret: true,
      },
      ...COMMON,
    ],
  },
  paubox: {
    title: "Paubox",
    says: "API for mail with health data (HIPAA).",
    fields: [
      {
        name: "apiKey",
        label: "API key",
        hint: "Paubox, Email API, API keys.",
        secret: true,
        required: true,
      },
      {
        name: "endpoint",
        label: "API user name",
        hint: "Only for accounts of the older address with a user name in it.",
      },
      { name: "bulkSize", label: "Mails in one call, at most", hint: "1 to 50.", kind: "number" },
      {
        name: "forceSecureNotification",
        label: "Always send a secure notification",
        kind: "switch",
      },
      ...COMMON,
      PHI,
    ],
  },
  ses: {
    title: "Amazon SES",
    says: "API of your own AWS account.",
    fields: [
      { name: "region", label: "Region", hint: "Such as eu-west-1.", required: true },
      {
        name: "credentials",
        label: "Credentials",
        hint: "keys: those below. role: this server's own AWS role, where its operator lends it to the project.",
        kind: "choice",
        choices: ["keys", "role"],
      },
      {
        name: "accessKeyId",
        label: "Access key id",
        hint: "An IAM user that may ses:SendEmail.",
        secret: true,
      },
      { name: "secretAccessKey", label: "Secret access key", secret: true },
      {
        name: "sessionToken",
        label: "Session token",
        hint: "Only for temporary credentials.",
        secret: true,
      },
      {
        name: "configurationSet",
        label: "Configuration set",
        hint: "Publishes the events; it must require TLS to carry health data.",
      },
      {
        name: "topicArns",
        label: "SNS topics",
        hint: "One ARN a line: only these may report.",
        kind: "lines",
      },
      ...COMMON,
      PHI,
    ],
  },
  smtp: {
    title: "SMTP relay",
    says: "Any server that speaks SMTP with TLS.",
    fields: [
      {
        name: "preset",
        label: "Preset",
        hint: "A known relay; without one, host, port, security and user name are needed.",
        kind: "choice",
        choices: ["resend", "paubox", "ses"],
      },
      { name: "region", label: "Region", hint: "For the preset ses, such as eu-west-1." },
      {
        name: "configurationSet",
        label: "Configuration set",
        hint: "For Amazon SES: publishes the events.",
      },
      { name: "host", label: "Host" },
      {
        name: "port",
        label: "Port",
        hint: "465 for TLS, 587 for STARTTLS.",
        kind: "number",
      },
      {
        name: "security",
        label: "Security",
        kind: "choice",
        choices: ["tls", "starttls"],
      },
      { name: "username", label: "User name" },
      { name: "password", label: "Password", secret: true, required: true },
      {
        name: "caCertificate",
        label: "CA certificate",
        hint: "PEM, for a server with a certificate of its own.",
        kind: "area",
      },
      ...COMMON,
      PHI,
    ],
  },
  sandbox: {
    title: "Sandbox",
    says: "Keeps every mail here, readable in the log. Nothing leaves this server.",
    fields: COMMON,
  },
};

export const titleOf = (name: string): string => VENDORS[name]?.title ?? name;
