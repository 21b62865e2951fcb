"""How thorough a run is, and from which seed its choices are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen
from hypothesis import HealthCheck, Phase, Verbosity, core
from hypothesis import settings as hypothesis_settings

__all__ = ["PROFILES", "Profile"]


_PHASES = (Phase.explicit, Phase.generate, Phase.target)


@frozen
class Profile:
    """How much is tried."""

    name: str
    #: Examples of each property, and steps of each state machine.
    examples: int
    steps: int
    #: Members of the largest group; workflows and messages that are tried under load.
    large: int
    #: Entries of the largest batch of small messages.
    batch: int
    #: How often races are tried, where each try costs much.
    races: int
    #: For how long a race is provoked, in seconds.
    seconds: float
    #: How often the service is killed while it moves messages.
    crashes: int
    #: What all random choices are drawn from; the same seed makes the same choices.
    seed: int = 0
    #: Whether failing examples are made smaller, which takes time.
    shrinks: bool = True

    def settings(self) -> hypothesis_settings:
        """For Hypothesis: as many examples as the profile says, and no deadline, for services differ.

        Every setting is given. Whatever profile of Hypothesis is loaded around it, such as its own "ci", which draws
        from no seed, changes nothing here.
        """
        return hypothesis_settings(
            max_examples=self.examples,
            stateful_step_count=self.steps,
            derandomize=False,  # it would beat the seed
            deadline=None,
            database=None,  # a failure is reproduced from its seed
            print_blob=True,
            report_multiple_bugs=False,  # the first is enough, and a group of errors hides it
            backend="hypothesis",
            verbosity=Verbosity.normal,
            phases=[*_PHASES, *([Phase.shrink] if self.shrinks else [])],
            suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
        )

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Let Hypothesis draw from the seed meanwhile, as its own option ``--hypothesis-seed`` does."""
        before = core.global_force_seed
        core.global_force_seed = self.seed  # type: ignore[assignment]
        try:
            yield
        finally:
            core.global_force_seed = before


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", examples=10, steps=20, large=1_000, batch=4_100, races=5, seconds=0.3, crashes=2),
        Profile("default", examples=50, steps=40, large=10_000, batch=10_001, races=20, seconds=1.0, crashes=3),
        Profile("thorough", examples=1_000, steps=100, large=10_000, batch=65_537, races=200, seconds=10.0, crashes=20),
    )
}
