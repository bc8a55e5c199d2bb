"""Dagster's side: partitions, resources, metadata, checks, conditions, jobs, schedules, executors.

One module per concept; the assets themselves are in ``assets``.
"""
