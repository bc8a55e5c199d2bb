"""When an asset asks to be materialized by itself: when its badge says that it is outdated, and nothing is in the way.

Belongs here: the conditions, and the sensor that looks at them. They look at the state, not at changes: what was missed
while the sensor was off, or came while a run was under way, is found at the next look. They are written out and not
edited with ``.replace``: conditions without fields compare equal, so replacing one replaces them all. They are tested
by ticks. https://docs.dagster.io/guides/automate/declarative-automation
"""

import warnings

import dagster as dg

# What the badge in the UI is computed with; Dagster has no public name for it.
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCause, StaleStatus

from kwcolor_pipeline.orchestration.metadata import CHANGED_SHARE, MIN_CHANGE

_C = dg.AutomationCondition

#: The asset whose small changes wait.
_PAIRS = dg.AssetKey("grayscale_pairs")


class Outdated(dg.AutomationCondition[dg.AssetKey]):
    """The asset's badge says stale or missing; of pairs that changed too little to train again, it may say so alone.

    How much is enough stands in the metadata of the asset, how much changed in those of the pairs' materialization.
    """

    @property
    def name(self) -> str:
        """How the UI calls it."""
        return "outdated"

    @property
    def description(self) -> str:
        """What the UI says about it."""
        return "Stale or missing, by more than a small change of the pairs"

    @property
    def requires_cursor(self) -> bool:
        """It remembers nothing."""
        return False

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """All of an unpartitioned asset, or nothing."""
        view = context.asset_graph_view
        badges = CachingStaleStatusResolver(view.instance, view.asset_graph, view)
        status = badges.get_status(context.key)
        outdated = status == StaleStatus.MISSING or any(
            not _waits(cause, context) for cause in badges.get_stale_causes(context.key)
        )
        return dg.AutomationResult(context, context.candidate_subset if outdated else context.get_empty_subset())


def _waits(cause: StaleCause, context: dg.AutomationContext[dg.AssetKey]) -> bool:
    """Whether this cause alone is a small change of the pairs."""
    least = context.asset_graph.get(context.key).metadata.get(MIN_CHANGE)
    if least is None or cause.dependency_asset_key != _PAIRS:
        return False
    latest = context.asset_graph_view.instance.get_latest_materialization_event(_PAIRS)
    made = latest.asset_materialization if latest else None
    changed = made.metadata.get(CHANGED_SHARE) if made else None
    return changed is not None and float(str(changed.value)) < float(str(getattr(least, "value", least)))


def _when_outdated(needed: dg.AutomationCondition) -> dg.AutomationCondition:
    """The asset is outdated, nothing that concerns it is under way, and ``needed`` holds.

    What failed is tried again when something that it is made from is new, and else the next morning.
    """
    another_try = (_C.any_deps_match(_C.newly_updated()) | _C.cron_tick_passed("0 6 * * *")).since(_C.newly_requested())
    return (
        Outdated()
        & ~_C.newly_requested()  # its run may not be there yet
        & ~_C.in_progress()
        & ~_C.any_deps_in_progress()  # a wave of years is followed once, when all of it is in
        & (~_C.execution_failed() | another_try)
        & needed
    )


#: The target's years: they may be missing one by one, and a bad one does not hold the others back.
_TARGET = dg.AssetSelection.assets("korean_war_photos")

#: One year is enough: most of the years that a source could have are never crawled.
ON_ANY_YEAR = _when_outdated(needed=_C.any_deps_match(~_C.missing()))
#: Every dependency has to exist and to have passed its blocking checks. A blocking check stops only
#: its own run; what this sensor asks for later is a run of its own.
ON_NEW_CONTENT = _when_outdated(needed=~_C.any_deps_missing() & _C.all_deps_blocking_checks_passed())
#: The same of every dependency but the target's years.
ON_NEW_CONTENT_OR_TARGET = _when_outdated(
    needed=~_C.any_deps_missing().ignore(_TARGET) & _C.all_deps_blocking_checks_passed().ignore(_TARGET)
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # use_user_code_server: conditions of our own need it
    #: Off until somebody switches it on: training by itself is a decision about a machine.
    FOLLOW_THE_DATA = dg.AutomationConditionSensorDefinition(
        "follow_the_data",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        use_user_code_server=True,
        description="Carries what a crawl changed to the gallery, once all years that are under way are in.",
    )
