import contextlib
import threading
import time

import dagster as dg
import pytest

from kwcolor_pipeline.crawling.pace import Stopped
from kwcolor_pipeline.orchestration.source_pools import pool_of, slot_for

LIMITED = {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=LIMITED) as instance:
        yield instance


@contextlib.contextmanager
def step_of_a_run(instance):
    """The context of an asset's step, while the step is under way."""
    contexts, entered, left = [], threading.Event(), threading.Event()

    @dg.asset
    def photographs(context: dg.AssetExecutionContext) -> None:
        contexts.append(context)
        entered.set()
        left.wait(60)

    run = threading.Thread(target=dg.materialize, args=([photographs],), kwargs={"instance": instance})
    run.start()
    assert entered.wait(60)
    try:
        yield contexts[0]
    finally:
        left.set()
        run.join()


def holders(instance, source):
    return instance.event_log_storage.get_concurrency_info(pool_of(source)).active_run_ids


def test_a_second_run_waits_for_the_first_and_other_sources_do_not(instance):
    order, never = [], threading.Event()
    with step_of_a_run(instance) as first, step_of_a_run(instance) as second:

        def crawl_second():
            with slot_for(second, "loc", never):
                order.append("second")

        waiting = threading.Thread(target=crawl_second)
        with slot_for(first, "loc", never):
            waiting.start()
            time.sleep(1.5)  # the second looks again once a second
            order.append("first")
            with slot_for(second, "commons", never):
                assert holders(instance, "commons") == {second.run.run_id}
            assert holders(instance, "loc") == {first.run.run_id}
        waiting.join(60)
    assert order == ["first", "second"]
    assert holders(instance, "loc") == set()


def test_a_slot_is_free_after_an_error(instance):
    with step_of_a_run(instance) as context:
        with pytest.raises(OSError, match="gone"), slot_for(context, "loc", threading.Event()):
            raise OSError("gone")
        assert holders(instance, "loc") == set()


def test_the_slot_of_a_run_that_was_killed_is_taken_over(instance):
    storage, killed = instance.event_log_storage, dg.DagsterRun(job_name="crawl", status=dg.DagsterRunStatus.FAILURE)
    instance.add_run(killed)
    storage.initialize_concurrency_limit_to_default(pool_of("loc"))
    assert storage.claim_concurrency_slot(pool_of("loc"), killed.run_id, "crawl.loc").is_claimed
    with step_of_a_run(instance) as context, slot_for(context, "loc", threading.Event()):
        assert holders(instance, "loc") == {context.run.run_id}


def test_a_crawl_that_is_cancelled_waits_no_longer(instance):
    cancelled = threading.Event()
    cancelled.set()
    with step_of_a_run(instance) as first, step_of_a_run(instance) as second:
        with slot_for(first, "loc", threading.Event()), pytest.raises(Stopped), slot_for(second, "loc", cancelled):
            pass
        assert holders(instance, "loc") == set()


def test_without_a_limit_nobody_waits(tmp_path):
    with (
        dg.instance_for_test(temp_dir=str(tmp_path)) as instance,
        step_of_a_run(instance) as first,
        step_of_a_run(instance) as second,
        slot_for(first, "loc", threading.Event()),
        slot_for(second, "loc", threading.Event()),
    ):
        assert holders(instance, "loc") == set()
