"""How one moves to an SMTP server."""

from postroom.providers.base import Step

CHECKLIST: tuple[Step, ...] = (
    Step("domain", "Allow the server to send for the domain", "Its SPF include and DKIM records."),
    Step(
        "key",
        "Make credentials for submission",
        "Host, port, TLS or STARTTLS, user name and password; connecting with verify=true tries them.",
    ),
    Step(
        "health_data",
        "Allow the connection to carry health data",
        "Only where the server's owner has signed a BAA and forces TLS onwards.",
    ),
    Step(
        "request",
        "Mind what the server reports",
        "Nothing: a mail that it took stays sent, unless the server refused a recipient at once.",
    ),
    Step(
        "old_sdk",
        "Take the old vendor's SDK and key out of the application",
        "The application talks to Postroom alone; nothing of it changes with the provider.",
    ),
    Step("old_webhooks", "Take down the old vendor's webhooks", "Once its last mails are final."),
    Step("test_mail", "Send a test mail", "And look for it in the mailbox."),
    Step(
        "switch",
        "Switch new mails",
        "Set mailProvider to smtp; mails under way finish where they are.",
    ),
    Step(
        "dns",
        "Swap the DNS records",
        "Take the old vendor's SPF include and DKIM records out after its last mail.",
    ),
    Step("revoke", "Revoke the old key", "At the old vendor, and remove its connection here."),
)
