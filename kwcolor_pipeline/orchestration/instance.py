"""The Dagster instance of the home folder.

https://docs.dagster.io/deployment/dagster-instance
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import sqlalchemy.exc

from kwcolor_pipeline.servers import prepare_dagster_home
from kwcolor_pipeline.settings import Settings, SettingsProblem


@contextlib.contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance whose `DAGSTER_HOME` is below the home folder, the one that `kwcolor ui` shows.

    Raises SettingsProblem when its database is damaged, and when it cannot be written, in here or later.
    """
    prepare_dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(settings.paths.dagster)
    try:
        with dg.DagsterInstance.get() as instance:
            instance.get_runs_count()
            yield instance
    except (sqlite3.DatabaseError, sqlalchemy.exc.DatabaseError) as error:
        if settings.dagster_config:
            files = ", ".join(map(str, settings.dagster_config))
            raise SettingsProblem(
                f"Dagster's database, as {files} names it, cannot be used ({error.__class__.__name__}); check that it "
                "runs and that its address is in the environment, for PostgreSQL as postgresql+psycopg2://…"
            ) from error
        raise SettingsProblem(_problem(settings.paths.dagster, error)) from error


def _problem(folder: Path, error: sqlite3.DatabaseError | sqlalchemy.exc.DatabaseError) -> str:
    """What is wrong with the SQLite files in ``folder``, with the remedy."""
    reason = str(error.orig if isinstance(error, sqlalchemy.exc.DatabaseError) else error)
    if isinstance(error, (sqlite3.OperationalError, sqlalchemy.exc.OperationalError)):
        # Locked, a full disk, a folder that may not be written: the history is whole.
        remedy = "make room" if "full" in reason or "I/O" in reason else "see what else uses it and who may write it"
        return f"Dagster's database in {folder} cannot be used now ({reason}); {remedy}, then run again."
    return (
        f"Dagster's database in {folder} is damaged ({reason}); restore it from a backup, or move the folder away to "
        "start with an empty history. Photographs and models are not in it."
    )
