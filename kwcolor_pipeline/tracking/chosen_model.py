"""Which model colorizes: the champion, or the starter while there is none."""

from dataclasses import dataclass
from pathlib import Path

from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.starter import STARTER
from kwcolor_pipeline.tracking.mlflow_tracking import MODEL_NAME, Tracking, Version

#: Names of `--model` that are no version: the champion, and the generator that comes with the package.
CHAMPION_NAME, STARTER_NAME = "champion", "starter"
#: Why the starter is taken where nobody asked for it.
NO_CHAMPION = "there is no champion"


@dataclass(frozen=True)
class ChosenModel:
    """A model bundle's folder, its name for people, and the number of its version; the starter is none."""

    folder: Path
    name: str
    number: int | None


def _opened(tracking: Tracking, settings: Settings, version: Version, name: str) -> ChosenModel:
    folder = tracking.download(version, settings.paths.models / "downloaded" / str(version.number))
    return ChosenModel(folder, name, version.number)


def has_registry(settings: Settings) -> bool:
    """Whether there can be versions; to look for them where there is none would make one, which takes seconds."""
    return settings.mlflow_tracking_uri is not None or settings.paths.mlflow_database.exists()


def starter_model(reason: str = "") -> ChosenModel:
    """The generator that comes with the package; ``reason`` says why it was taken."""
    return ChosenModel(STARTER, f"{MODEL_NAME}'s starter{f' ({reason})' if reason else ''}", None)


def chosen_model(tracking: Tracking, settings: Settings) -> ChosenModel:
    """The champion; without one the starter, and the name says so."""
    champion = tracking.champion()
    if champion is None:
        return starter_model(NO_CHAMPION)
    return _opened(tracking, settings, champion, f"{MODEL_NAME} version {champion.number} (champion)")


def model_by_name(wanted: str, tracking: Tracking, settings: Settings) -> ChosenModel:
    """The model that `--model` names: `champion`, `starter`, `models:/kwcolor/3`, `models:/kwcolor@alias`.

    Raises SettingsProblem when there is no such version.
    """
    if wanted == CHAMPION_NAME:
        return chosen_model(tracking, settings)
    if wanted == STARTER_NAME:
        return starter_model()
    for version in tracking.versions():
        aliases = [f"models:/{MODEL_NAME}@{alias}" for alias in version.aliases]
        if wanted in (f"models:/{MODEL_NAME}/{version.number}", *aliases):
            return _opened(tracking, settings, version, f"{MODEL_NAME} version {version.number}")
    known = ", ".join(f"models:/{MODEL_NAME}/{version.number}" for version in tracking.versions()) or "none yet"
    raise SettingsProblem(f"There is no model version `{wanted}`; there are: {known}.")
