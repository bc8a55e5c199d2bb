"""Settings as part of the assets' definitions, so that the badge in the UI says "stale" when a setting has changed.

Belongs here: which settings decide what an asset holds. Dagster compares an asset's code version with the one that its
materialization had; a hash of those settings is a part of it. What the launchpad replaces is a part of its run alone.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from kwcolor_pipeline.home import fingerprint
from kwcolor_pipeline.orchestration.metadata import MIN_CHANGE
from kwcolor_pipeline.photos.known_to_starter import starter_photographs_version
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.presets import load_preset

#: Fields of a source that say how fast and as whom it is asked, and not what for.
_MANNERS = ("base_url", "api_key", "page_size", "requests_per", "downloads_per", "queries_per")
_TARGET_ONLY = "korean_war_"

#: Asset: what decides, besides its inputs and its code, what it holds.
_DECIDED_BY: dict[str, Callable[[Settings], Any]] = {
    "crawled_photos": lambda settings: _listed_by(settings, settings.sources, target=False),
    "korean_war_photos": lambda settings: _listed_by(settings, settings.korean_war_sources, target=True),
    "deduplicated_photos": lambda settings: settings.near_duplicates.model_dump(mode="json"),
    "curated_photos": lambda settings: settings.curation.model_dump(mode="json"),
    "grayscale_pairs": lambda settings: [settings.pairs.model_dump(mode="json"), starter_photographs_version()],
    "pretrained_generator": lambda settings: load_preset(settings.preset, settings.training).of_stage("pretrain"),
    "critic": lambda settings: load_preset(settings.preset, settings.training).of_stage("critic"),
    "gan_model": lambda settings: load_preset(settings.preset, settings.training).of_stage("gan"),
    "evaluation_report": lambda settings: [
        settings.evaluation.model_dump(mode="json"),
        settings.baselines.model_dump(mode="json"),
    ],
}
#: Assets that a small change of the pairs does not make again: the models, and what measures them.
_WAITING = ("pretrained_generator", "critic", "gan_model", "evaluation_report")


def with_settings(asset: dg.AssetsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """The asset with the settings that decide what it holds in its code version.

    Raises SettingsProblem for a preset or a training field that does not exist.
    """
    return asset.map_asset_specs(lambda spec: _configured(spec, settings))


def _configured(spec: dg.AssetSpec, settings: Settings) -> dg.AssetSpec:
    name = spec.key.to_user_string()
    if name in _WAITING:
        spec = spec.merge_attributes(metadata={MIN_CHANGE: settings.automation.min_change})
    if name not in _DECIDED_BY:
        return spec
    decided_by = fingerprint(_DECIDED_BY[name](settings))
    return spec.replace_attributes(code_version=f"{spec.code_version} settings={decided_by[:12]}")


def _listed_by(settings: Settings, sources: list[str], *, target: bool) -> Any:
    """What decides which photographs a crawl lists and takes."""
    asked: dict[str, Any] = {}
    for name in sources:
        group = getattr(settings, name, None)  # a source without settings of its own has no group
        fields = group.model_dump(mode="json") if group else {}
        asked[name] = {field: value for field, value in fields.items() if _asks(field, fields, target)}
    return [settings.download.model_dump(include={"max_bytes", "max_pixels"}), asked]


def _asks(field: str, fields: dict[str, Any], target: bool) -> bool:
    """Whether the crawl of the target, or the other one, asks a source for something else when ``field`` changes."""
    if field.startswith(_MANNERS):
        return False
    if target:
        return _TARGET_ONLY + field not in fields  # the target's own field stands for it
    return not field.startswith(_TARGET_ONLY)
