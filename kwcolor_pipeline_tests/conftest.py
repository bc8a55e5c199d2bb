"""Fixtures that several rooms share."""

import os
from pathlib import Path

import hypothesis
import pytest

# Tiny networks are faster on one thread, and sums in a fixed order let tests compare weights bit by bit.
os.environ["OMP_NUM_THREADS"] = "1"

from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline_tests.small_homes import copied, make_home_with_pairs, settings_for, tiny_preset, train_all

# No timing decides a test: how fast examples are made or run says something about the machine only.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def _home_with_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs") / "home"
    make_home_with_pairs(root)
    return root


@pytest.fixture(scope="session")
def _trained_home(_home_with_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copied(_home_with_pairs, tmp_path_factory.mktemp("trained") / "home")
    train_all(settings_for(root), tiny_preset())
    return root


@pytest.fixture
def small_settings(_home_with_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a home of its own that has pairs, and no kwcolor.toml around."""
    monkeypatch.chdir(tmp_path)
    return settings_for(copied(_home_with_pairs, tmp_path / "home"))


@pytest.fixture
def trained_settings(_trained_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Like ``small_settings``, with the three stages trained."""
    monkeypatch.chdir(tmp_path)
    return settings_for(copied(_trained_home, tmp_path / "home"))
