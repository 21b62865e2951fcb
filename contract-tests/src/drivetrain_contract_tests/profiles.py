"""How thorough a run is."""

from __future__ import annotations

from attrs import frozen
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import settings as hypothesis_settings

__all__ = ["PROFILES", "Profile"]


@frozen
class Profile:
    """How much is tried."""

    name: str
    #: Examples of each property, and steps of each state machine.
    examples: int
    steps: int
    #: Members of the largest group; workflows and messages that are tried under load.
    large: int
    #: How often races are tried.
    races: int

    def settings(self) -> hypothesis_settings:
        """For Hypothesis: examples as many as the profile says, failures reproducible, no deadline (services differ)."""
        return hypothesis_settings(
            max_examples=self.examples,
            stateful_step_count=self.steps,
            deadline=None,
            print_blob=True,
            verbosity=Verbosity.normal,
            phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", examples=10, steps=20, large=1_000, races=5),
        Profile("default", examples=50, steps=40, large=10_000, races=20),
        Profile("thorough", examples=1_000, steps=100, large=10_000, races=200),
    )
}
