"""Where everything meets: assets, checks, jobs, schedules, automation, resources.

``defs`` is what Dagster loads; ``build_definitions`` builds the same over other settings.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg

from kwcolor_pipeline.assets.colorized_gallery import colorized_gallery
from kwcolor_pipeline.assets.crawled_photos import crawled_photos
from kwcolor_pipeline.assets.critic import critic
from kwcolor_pipeline.assets.curated_photos import curated_photos
from kwcolor_pipeline.assets.deduplicated_photos import deduplicated_photos
from kwcolor_pipeline.assets.evaluation_report import evaluation_report
from kwcolor_pipeline.assets.gan_model import gan_model
from kwcolor_pipeline.assets.grayscale_pairs import grayscale_pairs
from kwcolor_pipeline.assets.korean_war_photos import korean_war_photos
from kwcolor_pipeline.assets.pretrained_generator import pretrained_generator
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.crawling.sources.base import Source
from kwcolor_pipeline.orchestration.automation import FOLLOW_THE_DATA
from kwcolor_pipeline.orchestration.champion import champion_sensor
from kwcolor_pipeline.orchestration.checks import CHECKS
from kwcolor_pipeline.orchestration.configuration import with_settings
from kwcolor_pipeline.orchestration.executors import executor_for
from kwcolor_pipeline.orchestration.jobs import JOBS
from kwcolor_pipeline.orchestration.notices import failure_sensor
from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS, KOREAN_WAR_YEARS
from kwcolor_pipeline.orchestration.resources import default_resources
from kwcolor_pipeline.orchestration.schedules import (
    monthly_schedule,
    quarterly_schedule,
    target_schedule,
    weekly_schedule,
)
from kwcolor_pipeline.orchestration.watched_folder import colorize_watched_folder, watched_folder_sensor
from kwcolor_pipeline.settings import Settings, load_settings

# Dagster copies every sensor that names no target, and warns of a parameter that it hands on itself.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)

#: In the order in which data flows.
ASSETS = [
    crawled_photos,
    korean_war_photos,
    deduplicated_photos,
    curated_photos,
    grayscale_pairs,
    pretrained_generator,
    critic,
    gan_model,
    evaluation_report,
    colorized_gallery,
]


def build_definitions(settings: Settings, **resources: Any) -> dg.Definitions:
    """The whole graph over ``settings``; keyword arguments replace resources (`settings`, `mlflow`)."""

    def covered() -> set[str]:
        return _covered(open_sources(settings.sources, settings, target=False), CRAWLED_YEARS)

    def covered_of_target() -> set[str]:
        return _covered(open_sources(settings.korean_war_sources, settings, target=True), KOREAN_WAR_YEARS)

    return dg.Definitions(
        assets=[with_settings(asset, settings) for asset in ASSETS],
        asset_checks=CHECKS,
        jobs=[*JOBS, colorize_watched_folder],
        schedules=[
            weekly_schedule(covered),
            quarterly_schedule(covered),
            target_schedule(covered_of_target),
            monthly_schedule,
        ],
        sensors=[FOLLOW_THE_DATA, champion_sensor, watched_folder_sensor(settings), failure_sensor],
        resources=default_resources(settings) | resources,
        executor=executor_for(settings.executor),
    )


def _covered(sources: Sequence[Source], partitions: dg.PartitionsDefinition) -> set[str]:
    """Keys of the partitions that any of the sources has."""
    keys = partitions.get_partition_keys()
    return {key for source in sources for key in source.covers(keys)}


defs = build_definitions(load_settings())
