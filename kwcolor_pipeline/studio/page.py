"""What the studio's page looks like, and which of the studio's works answers which hand movement.

Belongs here: layout, words and events. What is done is in ``colorizing``.

Only this module and ``server`` import Gradio, which is an extra. Nothing on the page comes from elsewhere: fonts are
the system's own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from kwcolor_pipeline.colorize.formats import FORMATS
from kwcolor_pipeline.studio.colorizing import GREY, Refused, Studio

_TITLE = "kwcolor studio"
_SANS = ("system-ui", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")
_MONO = ("ui-monospace", "Liberation Mono", "monospace")
#: The accent of the reports, from a wash to the darkest.
_ACCENT = gr.themes.Color(
    *("#fbf0ec", "#f6dfd7", "#ecc0b1", "#e09d86", "#d07a5d", "#b9563a", "#9c3d1f", "#7f3119", "#652714", "#4d1e10"),
    "#351509",
    name="dye",
)
_INTRODUCTION = f"""# {_TITLE}

Drop photographs in and see them in colour. The colours are inferred by a trained model: plausible, and no evidence of
what was there. The file that you download says so in its metadata."""
_NOTHING = "Nothing is here yet: drop a photograph in."
CSS = """
.gradio-container { max-width: 72rem !important; margin: 0 auto !important; }
.gradio-container h1 { font-family: Palatino, "Book Antiqua", Georgia, serif; font-size: 2rem; }
#look .slider-wrap, #look img { touch-action: pan-y; }
@media (max-width: 45rem) {
  .gradio-container h1 { font-size: 1.5rem; }
  #side { display: contents; }
  #files { order: 1; } #seen { order: 2; } #controls { order: 3; }
}
"""
#: Fetches the file that was made, under its own name, without a second press.
_FETCH = """(file) => {
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  document.body.append(link);
  link.click();
  link.remove();
}"""

#: Moves the line without asking the server, for those who cannot drag it.
_MOVE = """(percent) => ({ __type__: "update", slider_position: percent })"""


def theme() -> gr.themes.Base:
    """Gradio's default theme in the colours of the reports and in the system's fonts."""
    return gr.themes.Default(primary_hue=_ACCENT, neutral_hue="stone", font=_SANS, font_mono=_MONO)


class Page(gr.Blocks):
    """Gradio's page that takes no file but those that were uploaded to it.

    Gradio checks that only for pages that it starts by itself, and it would fetch a web address in a file's place.
    """

    def __init__(self, uploads: Path, **options: Any) -> None:
        super().__init__(**options)
        self._uploads = uploads.resolve()

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **named: Any) -> Any:
        """Refuse forged files, then do what Gradio does."""
        for path in _paths_in(inputs):
            if "://" in path or not Path(path).resolve().is_relative_to(self._uploads):
                raise gr.Error("Only photographs that were dropped in here are colorized.")
        return await super().preprocess_data(block_fn, inputs, *rest, **named)


def _paths_in(value: Any) -> Iterator[str]:
    """Every `path` in what a browser sent."""
    if isinstance(value, dict):
        yield from (str(path) for name, path in value.items() if name == "path")
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _paths_in(part)


def build_page(studio: Studio, folder: Path, max_megabytes: int) -> Page:
    """The page, without a server. ``folder`` is where Gradio puts what is uploaded."""
    models = _choices(studio)
    with Page(folder, title=_TITLE, analytics_enabled=False, delete_cache=(300, 3600)) as page:
        gr.Markdown(_INTRODUCTION)
        known = gr.State([])
        with gr.Row(elem_id="work"):
            with gr.Column(scale=1, min_width=300, elem_id="side"):
                files = gr.File(
                    label=f"Photographs, {max_megabytes} MB each at most",
                    file_count="multiple",
                    file_types=[f".{ending}" for ending in FORMATS],
                    height=180,
                    elem_id="files",
                )
                with gr.Column(elem_id="controls"):
                    which = gr.Radio([], label="Which one", visible=False)
                    model = gr.Dropdown(models, value=models[0][1], label="Version", filterable=False)
                    against = gr.Dropdown(
                        [_grey(), *models], value=GREY, label="Compared with, on the left", filterable=False
                    )
                    strength = gr.Slider(0, 2, 1, step=0.05, label="Strength of the colours", buttons=["reset"])
            with gr.Column(scale=2, min_width=320, elem_id="seen"):
                look = gr.ImageSlider(
                    label="Move the line",
                    elem_id="look",
                    buttons=["fullscreen"],
                    interactive=False,
                    max_height=640,
                )
                line = gr.Slider(0, 100, 50, step=1, label="Set the line, in percent", buttons=[])
                says = gr.Markdown(_NOTHING, elem_id="says")
                download = gr.Button("Download in colour, full size", variant="primary", interactive=False)
                made = gr.DownloadButton(visible="hidden")

        def take(given: list[str] | None, chosen: str | None, before: list[str]) -> Any:
            """What was dropped in last is looked at."""
            paths = list(dict.fromkeys(given or []))
            added = [path for path in paths if path not in before]
            chosen = next(iter(added), chosen if chosen in paths else next(iter(paths), None))
            choices = [(Path(path).name, path) for path in paths]
            return gr.Radio(choices, value=chosen, visible=len(choices) > 1), paths

        def show(chosen: str | None, wanted: str, left: str, strong: float) -> Any:
            if not chosen:
                return None, _NOTHING, gr.Button(interactive=False)
            try:
                seen = studio.look(Path(chosen), wanted, left, strong)
            except Refused as error:
                return None, f"**{error}**", gr.Button(interactive=False)
            return (seen.left, seen.right), seen.says, gr.Button(interactive=True)

        def make(chosen: str, wanted: str, strong: float) -> Path:
            try:
                return studio.result(Path(chosen), wanted, strong)
            except Refused as error:
                raise gr.Error(str(error), print_exception=False) from error

        def refresh() -> Any:
            now = _choices(studio)
            return gr.Dropdown(now, value=now[0][1]), gr.Dropdown([_grey(), *now], value=GREY)

        files.change(take, [files, which, known], [which, known], api_visibility="private", show_progress="hidden")
        gr.on(
            [which.change, model.change, against.change, strength.change],
            show,
            [which, model, against, strength],
            [look, says, download],
            trigger_mode="always_last",
            concurrency_id="network",
            api_visibility="private",
            show_progress_on=look,
        )
        download.click(
            make,
            [which, model, strength],
            made,
            concurrency_id="network",
            api_visibility="private",
            show_progress_on=download,
        ).success(None, made, js=_FETCH, api_visibility="private")
        line.input(None, line, look, js=_MOVE, api_visibility="private", show_progress="hidden")
        page.load(refresh, outputs=[model, against], api_visibility="private", show_progress="hidden")
    return page


def _choices(studio: Studio) -> list[tuple[str, str]]:
    return [(title, name) for name, title in studio.models().items()]


def _grey() -> tuple[str, str]:
    return "The photograph in grey", GREY
