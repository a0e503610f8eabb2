"""The registry: one tuple."""

from postroom.providers.base import Provider
from postroom.providers.paubox import Paubox
from postroom.providers.resend import Resend
from postroom.providers.sandbox import Sandbox
from postroom.providers.ses import Ses
from postroom.providers.smtp import Smtp

PROVIDERS: tuple[type[Provider], ...] = (Resend, Paubox, Ses, Smtp, Sandbox)
BY_NAME: dict[str, type[Provider]] = {provider.name: provider for provider in PROVIDERS}
