"""How one moves to Amazon SES, in the order of AWS's own guides."""

from postroom.providers.base import Step

CHECKLIST: tuple[Step, ...] = (
    Step("agreement", "Sign the AWS BAA", "Needed for health data only; AWS Artifact has it."),
    Step(
        "domain",
        "Verify the sending domain",
        "Create the identity in the region, and set the DKIM, SPF and MAIL FROM records.",
    ),
    Step(
        "production",
        "Leave the SES sandbox",
        "Until AWS grants production access, only verified recipients get mail, 200 a day.",
    ),
    Step(
        "key",
        "Make an access key",
        "An IAM user with ses:SendEmail, ses:SendRawEmail and ses:GetAccount.",
    ),
    Step(
        "tls",
        "Make a configuration set that requires TLS",
        "TlsPolicy REQUIRE; without it SES sends in clear where a server offers no TLS.",
    ),
    Step(
        "health_data",
        "Allow the connection to carry health data",
        "Set phiAllowed on the connection, then phi on the project; needs the step before.",
    ),
    Step(
        "request",
        "Mind what the request may carry",
        "At most 50 recipients and 40 MB a mail; some attachment types are refused by AWS.",
    ),
    Step(
        "old_sdk",
        "Take the old vendor's SDK and key out of the application",
        "The application talks to Postroom alone; nothing of it changes with the provider.",
    ),
    Step(
        "smtp",
        "Move what still sends by SMTP",
        "email-smtp.<region>.amazonaws.com, port 465 (TLS) or 587 (STARTTLS), SMTP credentials of the region.",
    ),
    Step(
        "templates",
        "Bring templates over",
        "`postroom templates import --from ses` reads GetEmailTemplate's JSON; Postroom renders them.",
    ),
    Step(
        "webhook",
        "Publish events to SNS",
        "An event destination of the configuration set, a topic with SignatureVersion 2, its ARN in"
        " topicArns, and an https subscription of the webhookUrl; Postroom confirms it.",
    ),
    Step(
        "old_webhooks",
        "Take down the old vendor's webhooks",
        "Once its last mails are final.",
    ),
    Step(
        "test_mail",
        "Send a test mail",
        "A mail to success@simulator.amazonses.com that ends as delivered proves key, topic and network.",
    ),
    Step(
        "switch",
        "Switch new mails",
        "Set mailProvider to ses; mails under way finish where they are.",
    ),
    Step(
        "dns",
        "Swap the DNS records",
        "Take the old vendor's SPF include and DKIM records out after its last mail.",
    ),
    Step("revoke", "Revoke the old key", "At the old vendor, and remove its connection here."),
)
