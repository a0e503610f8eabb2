"""Everything that is measured; no project, address or id is ever a label."""

from prometheus_client import Counter, Gauge

ACCEPTED = Counter("postroom_accepted_mails", "Mails that were written down and answered for.")
HANDED_OVER = Counter(
    "postroom_handed_over_mails",
    "Outcomes of provider calls, a mail each.",
    ["provider", "outcome"],
)
QUOTA_REFUSALS = Counter("postroom_quota_refusals", "Requests over the monthly limit.")
OVERLOADS = Counter("postroom_overloads", "Requests refused because too much waited already.")
RATE_REFUSALS = Counter("postroom_rate_refusals", "Requests over the rate limit.")
WEBHOOK_REFUSALS = Counter(
    "postroom_webhook_refusals", "Webhooks that did not prove where they came from.", ["provider"]
)
WEBHOOKS_NOT_CONFIGURED = Counter(
    "postroom_webhooks_not_configured", "Webhooks ignored for want of a secret.", ["provider"]
)
POLLS = Counter(
    "postroom_polls",
    "Questions to vendors about mails nothing final was heard of.",
    ["provider", "result"],
)
CONFIRMATIONS = Counter(
    "postroom_confirmations",
    "Unsigned webhooks, confirmed at once or left to a later question.",
    ["provider", "result"],
)
FENCED_OUT = Counter("postroom_fenced_out", "Results that came too late and changed nothing.")
PARKED = Counter(
    "postroom_parked_mails", "Mails parked because nobody can say what became of them."
)
BELLS_RUNG = Counter("postroom_bells_rung", "Lanes rung for after an accept.")
UNEXPECTED = Counter("postroom_unexpected_errors", "Requests answered with 500.")

SILENT_ACCOUNTS = Gauge(
    "postroom_silent_accounts", "Provider accounts that report far less than they used to."
)
OLDEST_DUE_SECONDS = Gauge(
    "postroom_oldest_due_seconds", "Age of the oldest mail that could leave."
)
DUE_MAILS = Gauge("postroom_due_mails", "Mails that could leave now.", ["stream"])
ALARMS = Counter(
    "postroom_alarms", "Things that should not happen and that a person should look at.", ["what"]
)
