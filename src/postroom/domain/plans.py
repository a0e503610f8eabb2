"""What a plan allows; the numbers come from the environment."""

from dataclasses import dataclass

from postroom.settings import Settings

UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of one plan; -1 means none."""

    name: str
    monthly_limit: int
    rate_per_minute: int
    max_projects: int

    @property
    def pro(self) -> bool:
        return self.name == "pro"


def plans(settings: Settings) -> dict[str, Plan]:
    """Every plan there is, by name."""
    return {
        "free": Plan(
            "free",
            settings.free_monthly_limit,
            settings.free_rate_per_minute,
            settings.free_max_projects,
        ),
        "pro": Plan("pro", settings.pro_monthly_limit, settings.pro_rate_per_minute, UNLIMITED),
    }
