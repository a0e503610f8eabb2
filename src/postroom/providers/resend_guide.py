"""How one moves to Resend, in the order of Resend's own guides; https://resend.com/docs/introduction."""

from postroom.providers.base import Step

CHECKLIST: tuple[Step, ...] = (
    Step(
        "domain",
        "Verify the sending domain",
        "Add the domain and set the DKIM, SPF and MX records that Resend names.",
    ),
    Step(
        "key",
        "Make an API key",
        "Sending access is enough; full access lets audiences and broadcasts stay at Resend, too.",
    ),
    Step(
        "health_data",
        "Keep health data elsewhere",
        "Resend signs no BAA: a project with phi set cannot send by it.",
    ),
    Step(
        "request",
        "Mind what the request may carry",
        "At most 50 recipients and 40 MB a mail; mails with attachments travel alone, not in batches.",
    ),
    Step(
        "old_sdk",
        "Take the old vendor's SDK and key out of the application",
        "The application talks to Postroom alone; nothing of it changes with the provider.",
    ),
    Step(
        "smtp",
        "Move what still sends by SMTP",
        "smtp.resend.com, port 465 with TLS or 587 with STARTTLS, user name resend, the API key as password.",
    ),
    Step(
        "templates",
        "Bring templates over",
        "`postroom templates import --from ses|paubox` reads the old vendor's; Postroom renders them.",
    ),
    Step(
        "webhook",
        "Enter the webhook address",
        "Add the webhookUrl at Resend, and its signing secret as webhookSecret here.",
    ),
    Step(
        "old_webhooks",
        "Take down the old vendor's webhooks",
        "Paubox's endpoints, or Amazon SES's SNS topics and event destinations, once its last mails are final.",
    ),
    Step(
        "test_mail",
        "Send a test mail",
        "A mail to delivered@resend.dev that ends as delivered proves key, domain and webhook.",
    ),
    Step(
        "switch",
        "Switch new mails",
        "Set mailProvider to resend; mails under way finish where they are.",
    ),
    Step(
        "dns",
        "Swap the DNS records",
        "Take the old vendor's SPF include and DKIM records out after its last mail.",
    ),
    Step("revoke", "Revoke the old key", "At the old vendor, and remove its connection here."),
)
