"""Which model version colorizes: the champion, or the newest one while there is none."""

from dataclasses import dataclass
from pathlib import Path

from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.tracking.mlflow_tracking import MODEL_NAME, Tracking, Version


@dataclass(frozen=True)
class ChosenModel:
    """A version's bundle folder, its name for people, and its number."""

    folder: Path
    name: str
    number: int


def _opened(tracking: Tracking, settings: Settings, version: Version, name: str) -> ChosenModel:
    folder = tracking.download(version, settings.paths.models / "downloaded" / str(version.number))
    return ChosenModel(folder, name, version.number)


def chosen_model(tracking: Tracking, settings: Settings) -> ChosenModel:
    """The champion; without one the newest version, and the name says so.

    Raises SettingsProblem when no version is registered.
    """
    champion = tracking.champion()
    if champion is not None:
        return _opened(tracking, settings, champion, f"{MODEL_NAME} version {champion.number} (champion)")
    newest = tracking.newest()
    if newest is None:
        raise SettingsProblem("There is no trained model yet; run `kwcolor run` first, or give a bundle with --model.")
    return _opened(tracking, settings, newest, f"{MODEL_NAME} version {newest.number} (newest, there is no champion)")


def model_by_name(wanted: str, tracking: Tracking, settings: Settings) -> ChosenModel:
    """The model that `--model` names: `champion`, `models:/kwcolor/3`, `models:/kwcolor@alias`.

    Raises SettingsProblem when there is no such version.
    """
    if wanted == "champion":
        return chosen_model(tracking, settings)
    for version in tracking.versions():
        aliases = [f"models:/{MODEL_NAME}@{alias}" for alias in version.aliases]
        if wanted in (f"models:/{MODEL_NAME}/{version.number}", *aliases):
            return _opened(tracking, settings, version, f"{MODEL_NAME} version {version.number}")
    known = ", ".join(f"models:/{MODEL_NAME}/{version.number}" for version in tracking.versions()) or "none yet"
    raise SettingsProblem(f"There is no model version `{wanted}`; there are: {known}.")
