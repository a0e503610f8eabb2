"""templates, and the global ones that every project has"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STYLE = (
    "body{margin:0;background:#f4f5f7}"
    ".card{max-width:560px;margin:0 auto;background:#ffffff;border-radius:12px}"
    "@media (max-width:600px){.pad{padding:24px 20px!important}.button{display:block!important}}"
    "@media (prefers-color-scheme:dark){body,.page{background:#15181c!important}"
    ".card{background:#1f2429!important}.card h1,.card p{color:#e8eaed!important}}"
)
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


def _page(preheader: str, title: str, body: str) -> str:
    """One column that fits a phone, readable where styles are dropped and in the dark."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<div style="display:none;max-height:0;overflow:hidden">{preheader}</div>
<table role="presentation" class="page" width="100%" cellpadding="0" cellspacing="0" style="background:#f4f5f7">
<tr><td style="padding:32px 12px">
<table role="presentation" class="card" align="center" width="100%" cellpadding="0" cellspacing="0"
 style="max-width:560px;background:#ffffff;border-radius:12px">
<tr><td class="pad" style="padding:40px;{_FONT};color:#1d2126">
<h1 style="margin:0 0 16px;font-size:22px;line-height:30px;font-weight:600">{title}</h1>
{body}
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
"""


def _p(text: str, more: str = "") -> str:
    return f'<p style="margin:0 0 16px;font-size:16px;line-height:25px{more}">{text}</p>'


def _small(text: str) -> str:
    return _p(text, ";font-size:13px;line-height:20px;color:#5b6470")


def _button(variable: str, label: str) -> str:
    """Left out where the address is missing: a button that leads nowhere is worse than none."""
    return (
        f"{{{{#if {variable}}}}}"
        f'<p style="margin:24px 0"><a class="button" href="{{{{{variable}}}}}" '
        'style="display:inline-block;padding:13px 26px;border-radius:8px;background:#1f5eff;color:#ffffff;'
        f'font-size:16px;font-weight:600;text-align:center;text-decoration:none">{label}</a></p>'
        f"{{{{/if}}}}"
    )


_HELLO = "Hello{{#if name}} {{name}}{{/if}},"
_PROJECT = "{{#if projectName}}{{projectName}}{{else}}our service{{/if}}"

# id, key, name, subject, html, text
_GLOBAL = (
    (
        "706f7374726f6f6d00000001",
        "welcome",
        "Welcome",
        f"Welcome to {_PROJECT}",
        _page(
            f"Your account at {_PROJECT} is ready.",
            f"Welcome to {_PROJECT}",
            _p(_HELLO)
            + _p("your account is ready and everything is set up. It is good to have you here.")
            + _button("appUrl", f"Open {_PROJECT}")
            + _small("Questions? Just answer this mail."),
        ),
        f"""{_HELLO}

your account at {_PROJECT} is ready and everything is set up. It is good to have you here.
{{{{#if appUrl}}}}

Open it: {{{{appUrl}}}}
{{{{/if}}}}

Questions? Just answer this mail.
""",
    ),
    (
        "706f7374726f6f6d00000002",
        "welcome-2",
        "Welcome 2",
        f"Three first steps in {_PROJECT}",
        _page(
            "Two minutes, and you know your way around.",
            f"Your first steps in {_PROJECT}",
            _p(_HELLO)
            + _p("thank you for joining us. People who start like this feel at home fastest:")
            + '<ol style="margin:0 0 16px;padding-left:22px;font-size:16px;line-height:27px">'
            "<li>Complete your profile.</li><li>Look around and try things: nothing breaks.</li>"
            "<li>Invite those whom you work with.</li></ol>"
            + _button("appUrl", "Take the first step")
            + _small("You get this mail once, because you made an account."),
        ),
        f"""{_HELLO}

thank you for joining {_PROJECT}. People who start like this feel at home fastest:

1. Complete your profile.
2. Look around and try things: nothing breaks.
3. Invite those whom you work with.
{{{{#if appUrl}}}}

Take the first step: {{{{appUrl}}}}
{{{{/if}}}}

You get this mail once, because you made an account.
""",
    ),
    (
        "706f7374726f6f6d00000003",
        "otp",
        "One-time code",
        "{{otp}} is your verification code",
        _page(
            "Type it in where you were asked for it.",
            "Your verification code",
            _p(_HELLO)
            + _p("type this code in where you were asked for it:")
            + '<p style="margin:24px 0;padding:18px;border-radius:8px;background:#eef2ff;color:#1d2126;'
            "font-family:Menlo,Consolas,monospace;font-size:32px;line-height:40px;letter-spacing:8px;"
            'text-align:center">{{otp}}</p>'
            + _p(
                "{{#if expiresInMinutes}}It is good for {{expiresInMinutes}} minutes. {{/if}}"
                "We never ask for it by phone or chat."
            )
            + _small("You did not ask for a code? Then leave it unused: nothing happens."),
        ),
        f"""{_HELLO}

your verification code is {{{{otp}}}}
{{{{#if expiresInMinutes}}}}
It is good for {{{{expiresInMinutes}}}} minutes.
{{{{/if}}}}
We never ask for it by phone or chat.

You did not ask for a code? Then leave it unused: nothing happens.
""",
    ),
    (
        "706f7374726f6f6d00000004",
        "password-reset",
        "Password reset",
        "Choose a new password",
        _page(
            "The link in this mail lets you choose a new password.",
            "Choose a new password",
            _p(_HELLO)
            + _p("somebody, we hope you, asked for a new password for your account.")
            + _button("resetUrl", "Choose a new password")
            + "{{#if resetUrl}}"
            + _p(
                "The button does not work? Copy this address into your browser:"
                '<br><span style="font-size:13px;word-break:break-all">{{resetUrl}}</span>'
            )
            + "{{/if}}"
            + _small(
                "It was not you? Then there is nothing to do: the old password stays as it is."
            ),
        ),
        f"""{_HELLO}

somebody, we hope you, asked for a new password for your account. Choose it here:

{{{{resetUrl}}}}

It was not you? Then there is nothing to do: the old password stays as it is.
""",
    ),
    (
        "706f7374726f6f6d00000005",
        "invite",
        "Invitation",
        f"You are invited to {_PROJECT}",
        _page(
            f"Join {_PROJECT} with one click.",
            f"You are invited to {_PROJECT}",
            _p(_HELLO)
            + _p(f"you were invited to work together in {_PROJECT}. One click and you are in.")
            + _button("inviteUrl", "Accept the invitation")
            + _small(
                "You do not know who invited you? Then ignore this mail, and nothing happens."
            ),
        ),
        f"""{_HELLO}

you were invited to work together in {_PROJECT}.

Accept the invitation: {{{{inviteUrl}}}}

You do not know who invited you? Then ignore this mail, and nothing happens.
""",
    ),
)


def upgrade() -> None:
    templates = op.create_table(
        "mail_templates",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_mail_templates_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_templates")),
        sa.UniqueConstraint(
            "project_id",
            "key",
            name=op.f("uq_mail_templates_project_id_key"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.UniqueConstraint(
            "project_id",
            "name_key",
            name=op.f("uq_mail_templates_project_id_name_key"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    columns = ("id", "key", "name", "subject", "html", "text")
    rows = [dict(zip(columns, row, strict=True)) for row in _GLOBAL]
    op.bulk_insert(templates, [row | {"name_key": row["name"].lower()} for row in rows])


def downgrade() -> None:
    op.drop_table("mail_templates")
