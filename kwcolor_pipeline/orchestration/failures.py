"""What a failed step or check says to a person: one sentence, without a traceback and without secrets."""

import re
from collections.abc import Iterable

import dagster as dg
import pydantic
from dagster._utils.error import SerializableErrorInfo  # the type of a step failure's `error`

from kwcolor_pipeline.settings import Settings, SettingsProblem

_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")


def sentence_of(error: SerializableErrorInfo | None) -> tuple[str, bool]:
    """The sentence of the error that is the asset's own, and whether it is the operator's to solve."""
    # Dagster's own error is around the asset's; a SettingsProblem may have causes of its own.
    while error is not None and error.cause is not None and error.cls_name != SettingsProblem.__name__:
        error = error.cause
    message = error.message.strip() if error else "It failed."
    if error is not None and error.cls_name == SettingsProblem.__name__:
        return message.partition(": ")[2], True
    return f"{message} (traceback: the run's page in Dagster)", False


def is_failed_check(error: SerializableErrorInfo | None) -> bool:
    """Whether a step failed only because a blocking check did, which says why itself."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def check_sentence(check: dg.AssetCheckEvaluation) -> str | None:
    """What a failed check says; None where it passed or only warns."""
    if check.passed or check.severity != dg.AssetCheckSeverity.ERROR:
        return None
    return check.description or f"The check {check.check_name} failed."


def without_secrets(text: str, settings: Settings) -> str:
    """The text with `***` for every secret of the settings and for names and passwords in addresses."""
    for secret in _secrets(settings):
        text = text.replace(secret, "***")
    return _PASSWORD_IN_ADDRESS.sub("***@", text)


def _secrets(model: pydantic.BaseModel) -> Iterable[str]:
    for _, value in model:
        if isinstance(value, pydantic.SecretStr) and value.get_secret_value():
            yield value.get_secret_value()
        elif isinstance(value, pydantic.BaseModel):
            yield from _secrets(value)
