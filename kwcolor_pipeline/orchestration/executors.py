"""How the steps of one run are executed, by name.

https://docs.dagster.io/guides/operate/run-executors
"""

import dagster as dg

from kwcolor_pipeline.settings import SettingsProblem

EXECUTORS = ("in_process", "multiprocess")


def executor_for(name: str) -> dg.ExecutorDefinition:
    """The executor called ``name``.

    Raises SettingsProblem for an unknown name.
    """
    if name == "in_process":
        return dg.in_process_executor
    if name == "multiprocess":
        # spawn: a forked process cannot use CUDA. Two at once: more steps rarely fit the memory.
        return dg.multiprocess_executor.configured({"max_concurrent": 2, "start_method": {"spawn": {}}})
    raise SettingsProblem(f"There is no executor `{name}`; use one of: {', '.join(EXECUTORS)}.")
