"""What a step needs of a machine, as tags that a cluster's executor reads; on one machine they mean nothing.

Belongs here: plain data, with the names of the tags that `dagster-ray` and `dagster-k8s` know. Which executor is in
use is a setting. The numbers are requests: a step of a small collection needs less, and a cluster's administrator
replaces them there (deploy/README.md).
"""

from typing import Any


def _needs(*, cpus: int, memory: str, gpus: int = 0) -> dict[str, Any]:
    """Tags for so many cores, so much memory in Kubernetes' notation, and so many GPUs."""
    resources: dict[str, Any] = {"requests": {"cpu": str(cpus), "memory": memory}}
    on_ray: dict[str, Any] = {"num_cpus": cpus}
    if gpus:
        resources["limits"] = {"nvidia.com/gpu": gpus}
        on_ray["num_gpus"] = gpus
    return {"dagster-k8s/config": {"container_config": {"resources": resources}}, "dagster-ray/config": on_ray}


#: A crawl waits for archives most of the time.
CRAWLING = _needs(cpus=1, memory="2Gi")
#: Hashing, measuring and packing use all cores that they find.
MEASURING = _needs(cpus=1, memory="4Gi")
TRAINING = _needs(cpus=1, memory="8Gi", gpus=1)
#: A network that only looks: the report and the gallery.
COLORIZING = _needs(cpus=1, memory="8Gi", gpus=1)
