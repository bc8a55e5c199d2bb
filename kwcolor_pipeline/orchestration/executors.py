"""How the steps of one run are executed, by name.

https://docs.dagster.io/guides/operate/run-executors
"""

import dagster as dg

from kwcolor_pipeline.settings import SettingsProblem

EXECUTORS = ("in_process", "multiprocess", "ray", "kubernetes")


def executor_for(name: str) -> dg.ExecutorDefinition:
    """The executor called ``name``.

    Those of clusters find them, and each step's machine its settings and secrets, in the environment: nothing of it
    is written into runs, where pages would show it. Raises SettingsProblem for an unknown name, and for one whose
    package is not installed.
    """
    if name == "in_process":
        return dg.in_process_executor
    if name == "multiprocess":
        # spawn: a forked process cannot use CUDA. Two at once: more steps rarely fit the memory.
        return dg.multiprocess_executor.configured({"max_concurrent": 2, "start_method": {"spawn": {}}})
    if name == "ray":
        return _ray_executor()
    if name == "kubernetes":
        return _kubernetes_executor()
    raise SettingsProblem(f"There is no executor `{name}`; use one of: {', '.join(EXECUTORS)}.")


def _ray_executor() -> dg.ExecutorDefinition:
    """Every step a Ray job, on a node that has what its tags ask for; RAY_ADDRESS names the cluster.

    https://docs.dagster.io/integrations/libraries/ray
    """
    try:
        from dagster_ray.core.executor import ray_executor
    except ImportError as error:
        raise SettingsProblem(
            f"The executor `ray` needs a package that is not installed ({error}): pip install 'kwcolor_pipeline[ray]'."
        ) from error
    return ray_executor.configured({"ray": {}})


def _kubernetes_executor() -> dg.ExecutorDefinition:
    """Every step a Kubernetes job like the run's own, with what its tags ask for.

    https://docs.dagster.io/deployment/oss/deployment-options/kubernetes
    """
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise SettingsProblem(
            f"The executor `kubernetes` needs a package that is not installed ({error}): "
            "pip install 'kwcolor_pipeline[kubernetes]'."
        ) from error
    return k8s_job_executor
