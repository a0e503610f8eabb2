"""The registry: one tuple."""

from postroom.providers.base import Provider

PROVIDERS: tuple[type[Provider], ...] = ()
BY_NAME: dict[str, type[Provider]] = {provider.name: provider for provider in PROVIDERS}
