"""Pools: one for each source, so that a backfill of many years asks an archive one year after another.

Dagster's pools belong to steps, and a step here crawls one year of every source; it takes a slot of each source's
pool in turn. The limit is the instance's default (one) unless it is set on the page "Concurrency" of Dagster's UI.
https://docs.dagster.io/guides/operate/managing-concurrency/concurrency-pools
"""

import contextlib
import threading
from collections.abc import Iterator

import dagster as dg

from kwcolor_pipeline.crawling.pace import Stopped

#: Seconds between looks at whether a slot is free.
_LOOK = 1.0


def pool_of(source: str) -> str:
    """The name of a source's pool."""
    return f"crawl_{source}"


@contextlib.contextmanager
def slot_for(context: dg.AssetExecutionContext, source: str, cancelled: threading.Event) -> Iterator[None]:
    """Hold a slot of the source's pool; waits until one is free, or raises Stopped when ``cancelled`` is set."""
    storage = context.instance.event_log_storage
    pool, run_id = pool_of(source), context.run.run_id
    if not _is_limited(context.instance, pool):
        yield
        return
    holder = f"{context.op_execution_context.op_handle}.{source}"
    try:
        if not storage.claim_concurrency_slot(pool, run_id, holder).is_claimed:
            context.log.info(f"Waiting: another run asks {source} at present (pool `{pool}`).")
            while not storage.check_concurrency_claim(pool, run_id, holder).is_claimed:
                _free_ended(context.instance, pool)
                if cancelled.wait(_LOOK):
                    raise Stopped
                storage.claim_concurrency_slot(pool, run_id, holder)
        yield
    finally:
        storage.free_concurrency_slot_for_step(run_id, holder)


def _is_limited(instance: dg.DagsterInstance, pool: str) -> bool:
    """Whether the pool has a limit; gives it the default one if it has none of its own."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return False
    default = storage.get_pool_config().default_pool_limit
    known = {limit.name: limit for limit in storage.get_pool_limits()}
    if pool not in known or (known[pool].from_default and known[pool].limit != default):
        if default is None:
            return False
        storage.initialize_concurrency_limit_to_default(pool)
    return True


def _free_ended(instance: dg.DagsterInstance, pool: str) -> None:
    """Free the slots of runs that were killed: without a daemon nobody else does."""
    info = instance.event_log_storage.get_concurrency_info(pool)
    for run_id in info.active_run_ids | info.assigned_run_ids | info.pending_run_ids:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
