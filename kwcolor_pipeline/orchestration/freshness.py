"""How old an asset may become before the UI shows it as late.

Belongs here: the policies. Each follows from the schedule that keeps the asset young; with the schedules off, an asset
becomes late, which is true. A policy is about an asset and not about each of its years.
https://docs.dagster.io/guides/observe/asset-freshness-policies
"""

import datetime

import dagster as dg

#: Years in turn: each once in 84 days, and some days of grace for the ticks of a week.
IN_TURN = dg.FreshnessPolicy.time_window(
    fail_window=datetime.timedelta(days=105), warn_window=datetime.timedelta(days=95)
)
#: What `retrain_monthly` makes, or finds up to date.
MONTHLY = dg.FreshnessPolicy.time_window(
    fail_window=datetime.timedelta(days=40), warn_window=datetime.timedelta(days=33)
)
