"""What is said when Dagster's database cannot be used. A damaged file is in `test_cli`."""

import sqlite3

import pytest
import sqlalchemy.exc

from kwcolor_pipeline.orchestration.instance import open_instance
from kwcolor_pipeline.settings import SettingsProblem, load_settings


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # open_instance sets it; this gives it back
    return load_settings(home=tmp_path / "home")


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("database or disk is full", "make room, then run again"),
        ("disk I/O error", "make room, then run again"),
        ("database is locked", "see what else uses it and who may write it, then run again"),
        ("attempt to write a readonly database", "see what else uses it and who may write it, then run again"),
    ],
)
def test_a_history_that_is_whole_is_not_to_be_moved_away(settings, reason, remedy):
    error = sqlite3.OperationalError(reason)
    for raised in (error, sqlalchemy.exc.OperationalError("INSERT", {}, error)):
        with pytest.raises(SettingsProblem, match=remedy) as told, open_instance(settings):
            raise raised
        assert reason in str(told.value)
        assert "empty history" not in str(told.value)


def test_a_damaged_one_is_to_be_restored_or_moved_away(settings):
    error = sqlite3.DatabaseError("database disk image is malformed")
    for raised in (error, sqlalchemy.exc.DatabaseError("SELECT", {}, error)):
        with pytest.raises(SettingsProblem, match=r"is damaged .* backup.* empty history"), open_instance(settings):
            raise raised
