"""How one moves to Paubox, in the order of Paubox's own guides."""

from postroom.providers.base import Step

CHECKLIST: tuple[Step, ...] = (
    Step(
        "agreement", "Sign the BAA", "Paubox signs one with every customer; keep it with your own."
    ),
    Step(
        "domain",
        "Verify the sending domain",
        "Add the domain under Paubox's settings and set the DNS records it names.",
    ),
    Step(
        "key",
        "Make an API key for the domain",
        "Keys belong to one verified domain and are shown once; connecting with verify=true tries it.",
    ),
    Step(
        "health_data",
        "Allow the connection to carry health data",
        "Set phiAllowed on the connection, then phi on the project.",
    ),
    Step(
        "request",
        "Mind what the request may carry",
        "Headers X-... and List-Unsubscribe only, attachments up to 10 MB, no inline images.",
    ),
    Step(
        "old_sdk",
        "Take the old vendor's SDK and key out of the application",
        "The application talks to Postroom alone; nothing of it changes with the provider.",
    ),
    Step(
        "smtp",
        "Move what still sends by SMTP",
        "smtp.paubox.com, port 587 with STARTTLS or 465, user name apikey, the API key as password.",
    ),
    Step(
        "templates",
        "Bring templates over",
        "`postroom templates import --from paubox` reads dynamic templates; Postroom renders them.",
    ),
    Step(
        "webhook",
        "Enter the webhook address",
        "Enter the webhookUrl with the four api_mail_log events. Paubox neither signs nor repeats them.",
    ),
    Step(
        "old_webhooks",
        "Take down the old vendor's webhooks",
        "Resend endpoints, or the SNS topics and event destinations of Amazon SES, once its last mails are final.",
    ),
    Step(
        "overrides",
        "Remove overrides of TLS",
        "Postroom never sends allowNonTLS; look for it in whatever else sends by the account.",
    ),
    Step(
        "test_mail",
        "Send a test mail",
        "A mail that the receipt calls delivered proves domain, key and network.",
    ),
    Step(
        "switch",
        "Switch new mails",
        "Set mailProvider to paubox; mails under way finish where they are.",
    ),
    Step(
        "dns",
        "Swap the DNS records",
        "Take the old vendor's SPF include and DKIM records out after its last mail.",
    ),
    Step("revoke", "Revoke the old key", "At the old vendor, and remove its connection here."),
)
