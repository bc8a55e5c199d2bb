"""The registered versions as one table, for people and for programs.

Belongs here: which of a version's tags and metrics are told, and under which names. Where it is
printed does not.
"""

import math
from collections.abc import Sequence
from typing import Any

from kwcolor_pipeline.tracking.mlflow_tracking import CHAMPION, DATA_TAG, PRESET_TAG, Tracking, Version

#: Beginning of the names under which a version's run holds what was measured on the test split.
TEST = "test_"
#: Metrics of the test split that the table shows where a version has them, without TEST; programs are told all.
SHOWN = ("ciede2000", "psnr", "ssim", "colourfulness_distance", "frechet_lite0", "lite0_distance", "fid", "lpips")


def version_table(versions: Sequence[Version]) -> tuple[list[str], list[list[str]]]:
    """Headings, and a line of words for each version, in the order that is given; `★` marks the champion."""
    measured = {name for version in versions for name in version.metrics}
    metrics = [name for name in SHOWN if TEST + name in measured]
    return ["", "version", "aliases", "created", "preset", "data", *metrics], [
        [
            "★" if CHAMPION in version.aliases else "",
            str(version.number),
            ", ".join(version.aliases),
            f"{version.created:%Y-%m-%d %H:%M}",
            version.tags.get(PRESET_TAG, ""),
            version.tags.get(DATA_TAG, "")[:12],
            *(f"{version.metrics[TEST + name]:.4g}" if TEST + name in version.metrics else "" for name in metrics),
        ]
        for version in versions
    ]


def version_records(tracking: Tracking) -> list[dict[str, Any]]:
    """Everything that MLflow holds about each version, newest first, as JSON takes it; what is no number is null."""
    return [
        {
            "version": version.number,
            "aliases": list(version.aliases),
            "champion": CHAMPION in version.aliases,
            "created": version.created.isoformat(timespec="seconds"),
            "preset": version.tags.get(PRESET_TAG),
            "data": version.tags.get(DATA_TAG),
            "description": version.description,
            "metrics": {name: value if math.isfinite(value) else None for name, value in version.metrics.items()},
            "tags": version.tags,
            "run": tracking.url_of(version.run_id) if version.run_id else None,
        }
        for version in tracking.versions()
    ]
