"""The model code that MLflow keeps with every version and runs where a version is served.

Belongs here: what MLflow has to be told, and nothing that colorizes. MLflow copies this file into
the version's folder and executes it when the version is loaded ("models from code", so that no
pickle is stored); nothing else imports it. What it imports of this package lies in the version's
folder too, see ``model_folder``.
https://mlflow.org/docs/latest/ml/model/models-from-code/
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

# At module level, since only MLflow executes this file.
from mlflow import MlflowException  # noqa: TID253
from mlflow.models import set_model  # noqa: TID253
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE  # noqa: TID253
from mlflow.pyfunc import PythonModel, PythonModelContext  # noqa: TID253

if TYPE_CHECKING:
    from kwcolor_pipeline.colorize.encoded import EncodedColorizer


class _Refused(MlflowException):
    """HTTP 400 with the sentences about the pictures, and with nothing else.

    MLflow's scoring server writes the whole request in front of an error's message; here that would be
    megabytes of base64.
    """

    @property
    def message(self) -> str:
        return str(self.args[0])

    @message.setter
    def message(self, _: Any) -> None:
        """The message is what it was raised with."""


class ServedColorizer(PythonModel):
    """Takes and gives pictures as base64: `{"inputs": ["…"]}` is answered with `{"predictions": ["…"]}`."""

    _colorize: "EncodedColorizer"

    def load_context(self, context: PythonModelContext) -> None:
        # Inside, because registering a version executes this file too, and needs no network for that.
        from kwcolor_pipeline.colorize.encoded import open_encoded_colorizer

        self._colorize = open_encoded_colorizer(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: list[str], params: dict[str, Any] | None = None
    ) -> list[str]:
        """A colorized JPEG for each picture; all or none, with a sentence for each picture that is refused."""
        from kwcolor_pipeline.colorize.encoded import RefusedPictures

        try:
            return self._colorize(model_input)
        except RefusedPictures as error:
            raise _Refused(str(error), INVALID_PARAMETER_VALUE) from error


set_model(ServedColorizer())
