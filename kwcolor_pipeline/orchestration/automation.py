"""When an asset asks to be materialized by itself.

The conditions are written out and not edited with ``.replace``: conditions without fields compare
equal, so replacing one replaces them all and the asset is requested at every tick. They are tested
by ticks. https://docs.dagster.io/guides/automate/declarative-automation
"""

import dagster as dg

_C = dg.AutomationCondition


def _new_content(needed: dg.AutomationCondition) -> dg.AutomationCondition:
    """A dependency's content changed since this asset was last asked for, nothing is under way, ``needed`` holds.

    The edge is latched (`since`): a change that comes while a dependency is in progress is not
    lost, it is acted upon when that has ended.
    """
    changed = _C.any_deps_match(_C.data_version_changed() | (~_C.missing()).newly_true())
    handled = _C.newly_requested() | _C.newly_updated()
    return changed.since(handled) & ~_C.in_progress() & ~_C.any_deps_in_progress() & needed


#: The target's years: they may be missing one by one, and a bad one does not hold the others back.
_TARGET = dg.AssetSelection.assets("korean_war_photos")

#: One year is enough: most of the years that a source could have are never crawled.
ON_ANY_YEAR = _new_content(needed=_C.any_deps_match(~_C.missing()))
#: Every dependency has to exist and to have passed its blocking checks. A blocking check stops only
#: its own run; what this sensor asks for later is a run of its own.
ON_NEW_CONTENT = _new_content(needed=~_C.any_deps_missing() & _C.all_deps_blocking_checks_passed())
#: The same of every dependency but the target's years.
ON_NEW_CONTENT_OR_TARGET = _new_content(
    needed=~_C.any_deps_missing().ignore(_TARGET) & _C.all_deps_blocking_checks_passed().ignore(_TARGET)
)

#: Off until somebody switches it on: training by itself is a decision about a machine.
FOLLOW_THE_DATA = dg.AutomationConditionSensorDefinition(
    "follow_the_data",
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
)
