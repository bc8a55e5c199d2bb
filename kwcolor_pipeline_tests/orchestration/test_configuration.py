"""Which assets a changed setting makes stale: those whose content it decides, and no others."""

import pytest

from kwcolor_pipeline.definitions import ASSETS
from kwcolor_pipeline.orchestration.configuration import with_settings
from kwcolor_pipeline.orchestration.metadata import MIN_CHANGE
from kwcolor_pipeline.settings import SettingsProblem, load_settings

MODELS = {"pretrained_generator", "critic", "gan_model"}
ARCHIVE = {"sources": ["loc"], "korean_war_sources": ["loc"], "contact": "operator@example.org"}


@pytest.fixture(autouse=True)
def _no_settings_around(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def specs(**settings):
    configured = [with_settings(asset, load_settings(**settings)) for asset in ASSETS]
    return {spec.key.to_user_string(): spec for asset in configured for spec in asset.specs}


def changed(before, after):
    first, second = specs(**before), specs(**before | after)
    return {name for name in first if first[name].code_version != second[name].code_version}


@pytest.mark.parametrize(
    ("setting", "stale"),
    [
        ({"near_duplicates": {"neighbours": 7}}, {"deduplicated_photos"}),
        ({"curation": {"min_side": 65}}, {"curated_photos"}),
        ({"pairs": {"size": 128}}, {"grayscale_pairs"}),
        ({"training": {"pretrain_lr": 0.5}}, {"pretrained_generator"}),
        ({"training": {"critic_lr": 0.5}}, {"critic"}),
        ({"training": {"gan_lr": 0.5}}, {"gan_model"}),
        ({"training": {"size": 96}}, MODELS),
        ({"preset": "archive"}, MODELS),
        ({"evaluation": {"target_photographs": 3}}, {"evaluation_report"}),
        ({"baselines": {"render_factor": 10}}, {"evaluation_report"}),
        ({"sources": ["sample", "loc"]}, {"crawled_photos"}),
        ({"download": {"max_pixels": 1000}}, {"crawled_photos", "korean_war_photos"}),
        ({"loc": {"collections": ["photos"]}}, {"crawled_photos"}),
        ({"loc": {"korean_war_query": "Korea"}}, {"korean_war_photos"}),
        ({"loc": {"last_year": 1945}}, {"crawled_photos", "korean_war_photos"}),
        ({"loc": {"requests_per_10s": 1}}, set()),
        ({"commons": {"categories": ["Another"]}}, set()),
        ({"device": "cpu", "dagster_ui_url": "http://elsewhere", "executor": "multiprocess"}, set()),
        ({"automation": {"min_change": 0.5}}, set()),
    ],
    # Processes that share out tests have to agree on names, and each orders sets in its own way.
    ids=lambda value: " ".join(sorted(value)) or "nothing" if isinstance(value, set) else str(value),
)
def test_a_setting_makes_stale_what_it_decides(setting, stale):
    assert changed(ARCHIVE, setting) == stale


def test_the_share_that_trains_stands_at_the_assets_that_wait_for_it():
    found = {name: spec.metadata.get(MIN_CHANGE) for name, spec in specs(automation={"min_change": 0.5}).items()}
    assert {name for name, share in found.items() if share == 0.5} == {*MODELS, "evaluation_report"}
    assert set(found.values()) == {0.5, None}


def test_a_preset_that_does_not_exist_is_named():
    with pytest.raises(SettingsProblem, match="no preset `enormous`"):
        specs(preset="enormous")
