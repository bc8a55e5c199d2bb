"""The command `kwcolor`. Thin: every command reads the settings, calls the library and says what happened.

Exit codes: 0 done, 1 done with failures that are listed, 2 could not start and why.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kwcolor_pipeline.settings import Settings, SettingsProblem, load_settings

if TYPE_CHECKING:
    from kwcolor_pipeline.orchestration.shared_home import SharedHome

app = typer.Typer(
    help="Learn colour from dated colour photographs and colorize the Korean War.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
_out = Console()
_err = Console(stderr=True)


def main() -> None:
    """The entry point: problems that the operator can solve become one sentence and exit code 2."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        app()
    except SettingsProblem as problem:
        _err.print(f"[red]Could not start:[/] {escape(str(problem))}", soft_wrap=True, highlight=False)
        sys.exit(2)


def _finish(problems: list[str], could_not_start: bool = False) -> None:
    for problem in problems:
        _err.print(f"[red]·[/] {escape(problem)}", soft_wrap=True, highlight=False)
    if problems:
        raise typer.Exit(2 if could_not_start else 1)


@app.command()
def run(
    years: Annotated[str | None, typer.Option(help="Years to crawl, e.g. 1939,1941; all that sources have.")] = None,
    preset: Annotated[str | None, typer.Option(help="Training preset: demo or archive.")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only this asset; can be given several times, or with commas.")
    ] = None,
) -> None:
    """Crawl what may have changed, then compute what follows from it, and nothing else.

    `kwcolor run` brings everything up to date. `kwcolor run --years 1941,1943` crawls only these years.
    `kwcolor run --select curated_photos` materializes one asset. `KWCOLOR_SOURCES=folder:/scans kwcolor run`
    learns from your own photographs.
    """
    settings = load_settings(**({"preset": preset} if preset else {}))
    from kwcolor_pipeline.training.presets import load_preset

    load_preset(settings.preset, settings.training)
    from kwcolor_pipeline.definitions import build_definitions
    from kwcolor_pipeline.evaluation.comparison import report_folder
    from kwcolor_pipeline.evaluation.target_gallery import gallery_folder
    from kwcolor_pipeline.orchestration import incremental
    from kwcolor_pipeline.orchestration.instance import open_instance
    from kwcolor_pipeline.orchestration.resources import MLflow

    chosen = [name.strip() for entry in select for name in entry.split(",")] if select else incremental.ASSET_NAMES
    with open_instance(settings) as instance:
        outcome = incremental.run(
            settings,
            build_definitions(settings),
            instance,
            MLflow(settings),
            years=[year.strip() for year in years.split(",")] if years else None,
            select=chosen,
            announce=lambda label: _out.print(f"[bold]→[/] {escape(label)}", highlight=False),
        )
    count = f"materialized {len(outcome.materialized)}"
    if outcome.failed:
        _out.print(f"[red]Stopped:[/] {count}; what failed is told below.", highlight=False)
    else:
        done = count if outcome.materialized else "everything was up to date"
        _out.print(f"[green]Done:[/] {done}.", highlight=False)
    for name, page in (
        ("report", report_folder(settings.paths) / "report.html"),
        ("gallery", gallery_folder(settings.paths) / "index.html"),
    ):
        if page.exists():
            _out.print(f"  {name}: {page}", soft_wrap=True, highlight=False, markup=False)
    _out.print("  the asset graph and the model versions: kwcolor ui (or make ui)", highlight=False)
    _finish(outcome.problems, outcome.could_not_start)


@app.command()
def ui(
    dagster_port: Annotated[int, typer.Option(help="Port of Dagster's page.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's page.")] = 5000,
) -> None:
    """Open Dagster's and MLflow's pages; Ctrl-C stops both."""
    from kwcolor_pipeline.servers import serve

    raise typer.Exit(serve(load_settings(), dagster_port=dagster_port, mlflow_port=mlflow_port))


@app.command()
def review(
    port: Annotated[int, typer.Option(help="Port of the page.")] = 8765,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Open a page on which you decide about the photographs that the rules refuse or doubt; Ctrl-C stops it.

    It shows `curated_photos` and works by keyboard alone: `?` on the page lists the keys. A decision is a line in
    `review/decisions.csv` in the home, or in the file that `KWCOLOR_REVIEW__DECISIONS` names, for instance one under
    version control. Decisions win over every rule; the next `kwcolor run` applies them.
    """
    from kwcolor_pipeline.review.server import serve

    raise typer.Exit(serve(load_settings(), port=port, open_page=open_page))


@app.command()
def colorize(
    photographs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN…",
            help="Picture files, folders of them, quoted patterns ('scans/**/*.tif'), lists of paths (.txt), manifests "
            "(.parquet).",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results; made if missing.")],
    model: Annotated[
        str,
        typer.Option(
            help="`champion` (without one the starter), `starter`, a version (`models:/kwcolor/3`), or a bundle."
        ),
    ] = "champion",
    ending: Annotated[
        str,
        typer.Option(
            "--format", help="Format of the results: same (as the original), jpg, png, tif, webp, heic or jp2."
        ),
    ] = "same",
    again: Annotated[bool, typer.Option("--again", help="Colorize anew what has a result already.")] = False,
    strength: Annotated[
        float, typer.Option(help="How strong colours are: 0 is grey, 1 what the model proposes.")
    ] = 1.0,
    render_sizes: Annotated[
        str | None,
        typer.Option(help="Shortest sides, in pixels, at which the model looks; answers are averaged, e.g. 160,224."),
    ] = None,
    tiles: Annotated[
        int, typer.Option(help="Also look at so many parts a side, for large scans with many small things.")
    ] = 1,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Also write grey and colour beside each other, as a JPEG.")
    ] = False,
    visible_mark: Annotated[
        bool, typer.Option("--visible-mark", help="Also write a small `colorized` into the lower right corner.")
    ] = False,
    unmarked: Annotated[
        bool, typer.Option("--unmarked", help="Do not say in the file that its colours were inferred.")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option(help="Sign results (C2PA) with this certificate chain, a PEM file.")
    ] = None,
    private_key: Annotated[Path | None, typer.Option(help="The certificate's private key, a PEM file.")] = None,
) -> None:
    """Colorize photographs at full size and depth, each with its own lightness and all that its file tells.

    `kwcolor colorize letter.jpg album/ -o colour` writes `colour/letter.jpg` and one picture for each in `album`. A
    16-bit TIFF stays one, with its profile, EXIF, IPTC and XMP. A result says in its XMP that it is colorized, by
    which model, and from which original. Originals are never replaced.

    Called again, it does what is missing. Files that cannot be colorized are listed at the end; the exit code is
    then 1, and 2 if nothing could be done.

    `kwcolor colorize 'scans/**/*.tif' -o web --format jpg --side-by-side` makes copies for a web page and leaves the
    scans as they are.
    """
    from kwcolor_pipeline.colorize.batch import colorize_files
    from kwcolor_pipeline.colorize.engine import Rendering
    from kwcolor_pipeline.colorize.provenance import Marking

    settings = load_settings()
    sizes = _sizes(render_sizes)
    rendering = Rendering(strength=strength, render_sizes=sizes, tiles=tiles)
    marking = Marking(hidden=not unmarked, visible=visible_mark, certificate=certificate, private_key=private_key)
    bundle, name = _model(settings, model)
    report = colorize_files(
        settings,
        photographs,
        output,
        bundle,
        name,
        ending,
        rendering=rendering,
        marking=marking,
        again=again,
        side_by_side=side_by_side,
    )
    if report.written:
        done = f"{len(report.written)} colorized into {escape(str(output))}"
        _out.print(f"[green]Done:[/] {done}.", soft_wrap=True, highlight=False)
    if report.skipped:
        there = f"{len(report.skipped)} {'is' if len(report.skipped) == 1 else 'are'} there already"
        _out.print(f"  {there}; --again colorizes anew", soft_wrap=True, highlight=False)
    for note in report.notes:
        _err.print(f"[yellow]·[/] {escape(note)}", soft_wrap=True, highlight=False)
    _finish(report.problems, could_not_start=not report.written and not report.skipped)


@app.command()
def studio(
    port: Annotated[int, typer.Option(help="Port of the page.")] = 7860,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on: 127.0.0.1 is this machine alone, 0.0.0.0 lets the network in."),
    ] = "127.0.0.1",
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Open a page on which photographs are colorized, for one person or a few; Ctrl-C stops it.

    Drop photographs in, move the slider between grey and colour, choose the model's version and how strong colours
    are, compare two versions, and download the result: the same file that `kwcolor colorize` writes, at full size,
    with all that the original tells and the marks that say that it is colorized.

    Nothing is loaded from elsewhere and nothing is sent anywhere. `kwcolor studio --host 0.0.0.0` opens it to phones
    in the same network, to everybody who reaches this machine and without a password. Photographs lie in a temporary
    folder, for an hour at most. `KWCOLOR_STUDIO__MAX_MEGABYTES` limits their files, `KWCOLOR_COLORIZE__MAX_PIXELS`
    their sizes. Needs `kwcolor_pipeline[studio]`.
    """
    from kwcolor_pipeline.studio.server import serve

    raise typer.Exit(serve(load_settings(), host=host, port=port, open_page=open_page))


def _sizes(given: str | None) -> tuple[int, ...]:
    """Numbers between commas."""
    try:
        return tuple(int(size) for size in given.split(",")) if given else ()
    except ValueError:
        raise SettingsProblem(f"`{given}` are no sizes; give numbers of pixels with commas, e.g. 160,224.") from None


@app.command()
def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.onnx", help="The file to write; one that is there is replaced.")
    ],
    model: Annotated[
        str, typer.Option(help="`champion`, `starter`, a version (`models:/kwcolor/3`), or a bundle's folder.")
    ] = "champion",
) -> None:
    """Write a model's network as an ONNX file, for programs without PyTorch.

    It takes lightness (CIE L*) and gives chroma (a*, b*); shrinking the photograph before and putting both together
    after it is up to the program. `docs/colorizing.md` says how.
    """
    from kwcolor_pipeline.networks.bundle import read_bundle
    from kwcolor_pipeline.networks.onnx_export import export_onnx

    bundle, name = _model(load_settings(), model)
    export_onnx(read_bundle(bundle), file)
    _out.print(f"[green]Done:[/] {escape(name)} is in {escape(str(file))}.", soft_wrap=True, highlight=False)


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Option(help="`champion`, `starter`, a version (`models:/kwcolor/3`), or a bundle's folder.")
    ],
    photos: Annotated[Path, typer.Option(help="Folder of colour photographs.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here as well.")] = None,
) -> None:
    """Measure a model on any folder of colour photographs, beside the grey copy and the truth."""
    from kwcolor_pipeline.evaluation.folder import evaluate_folder
    from kwcolor_pipeline.home import write_json

    settings = load_settings()
    bundle, name = _model(settings, model)
    evaluation, problems = evaluate_folder(settings, bundle, name, photos)
    table = Table("", *(row.colorizer for row in evaluation.table))
    for metric in evaluation.table[-1].metrics:
        numbers = (f"{row.metrics[metric].value:.4g}" if metric in row.metrics else "" for row in evaluation.table)
        table.add_row(metric, *numbers)
    _out.print(table)
    if json_file is not None:
        write_json(json_file, evaluation.to_json())
    _finish(problems)


@app.command()
def versions(
    as_json: Annotated[bool, typer.Option("--json", help="Print all tags and metrics as JSON.")] = False,
) -> None:
    """List the registered model versions, newest first, as MLflow's page does; `★` marks the champion.

    With the preset and the data that each learned from, and what it measured on the test split.
    """
    from kwcolor_pipeline.tracking.mlflow_tracking import open_tracking
    from kwcolor_pipeline.tracking.version_table import version_records, version_table

    tracking = open_tracking(load_settings())
    tracking.prepare()
    if as_json:
        _out.print_json(json.dumps(version_records(tracking)))
        return
    headings, rows = version_table(tracking.versions())
    # The least telling columns make room where the terminal is narrow; half a number would tell nothing.
    shown = list(range(len(headings)))
    given_up = [place for place in shown if headings[place] in ("data", "created")] + shown[:5:-1]
    while given_up and _width(_versions(headings, rows, shown)) > _out.width:
        shown.remove(given_up.pop(0))
    _out.print(_versions(headings, rows, shown))
    if len(shown) < len(headings):
        missing = ", ".join(heading for place, heading in enumerate(headings) if place not in shown)
        _out.print(f"Not shown for want of room: {missing}; --json tells all.", soft_wrap=True, highlight=False)


def _width(table: Table) -> int:
    """Characters of a line of the table where nothing is cut off."""
    return _out.measure(table, options=_out.options.update(width=10_000)).maximum


def _versions(headings: list[str], rows: list[list[str]], shown: list[int]) -> Table:
    table = Table(*(headings[place] for place in shown))
    for row in rows:
        table.add_row(*(escape(row[place]) for place in shown), style="bold" if row[0] else None)
    return table


@app.command()
def sources() -> None:
    """List where photographs can come from: years, limits, licences, and what each source still needs.

    Choose with `KWCOLOR_SOURCES=loc,commons` for the colour photographs and `KWCOLOR_KOREAN_WAR_SOURCES` for
    those to colorize.
    """
    from kwcolor_pipeline.crawling.sources.overview import describe_sources

    table = Table(show_lines=True)
    for heading in ("source", "what", "years", "asked at most", "licences stored", "needs"):
        table.add_column(heading, overflow="fold")
    for source in describe_sources(load_settings()):
        name = f"[bold]{escape(source.name)}[/]" + (" [green](in use)[/]" if source.in_use else "")
        needs = f"[yellow]{escape(source.missing)}[/]" if source.missing else "nothing more"
        table.add_row(name, escape(source.about), source.years, source.limits, escape(source.licences), needs)
    _out.print(table)


@app.command()
def baselines(
    export: Annotated[
        Path | None, typer.Option(help="Write the grey test photographs into this folder, for other programs.")
    ] = None,
) -> None:
    """List the colorizers that a model can be compared with: which are available, and how to get the others.

    The evaluation compares with all that the settings name, for instance
    `KWCOLOR_BASELINES__DEOLDIFY_ARTISTIC=/weights/ColorizeArtistic_gen.pth`. Nothing is downloaded.

    Any program that colorizes files can be one: `kwcolor baselines --export grey` writes the grey test photographs,
    the program writes its results under the same names, and `KWCOLOR_BASELINES__FOLDERS=its name=its folder` names
    them.
    """
    from kwcolor_pipeline.baselines.catalogue import available_baselines

    settings = load_settings()
    if export is not None:
        from kwcolor_pipeline.baselines.results import export_test_photographs

        count = export_test_photographs(settings.paths, export)
        noun = "photograph" if count == 1 else "photographs"
        _out.print(f"[green]Done:[/] {count} grey {noun} in {escape(str(export))}.", soft_wrap=True, highlight=False)
        return
    found = available_baselines(settings)
    table = Table("baseline", "what", "state")
    for baseline in found:
        state = "[green]available[/]" if baseline.available else "[yellow]not here[/]"
        table.add_row(f"[bold]{escape(baseline.name)}[/]", escape(baseline.about), state)
    _out.print(table)
    for baseline in found:
        if baseline.missing:
            line = f"[bold]{escape(baseline.name)}:[/] {escape(baseline.missing)}"
            _out.print(line, soft_wrap=True, highlight=False)


@app.command()
def attribution(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the files; reports/attribution in the home.")
    ] = None,
) -> None:
    """Write who made the stored photographs, and under which licence, as files to publish beside results.

    `ATTRIBUTION.csv` has a line for each photograph with a ready credit (title, author, source, licence), as
    Creative Commons licences ask for; `croissant.json` describes it for dataset search engines.
    """
    from kwcolor_pipeline.photos.attribution import attribution_folder, write_attribution

    home = load_settings().paths
    written = write_attribution(home, output or attribution_folder(home))
    noun = "photograph" if written.photographs == 1 else "photographs"
    done = f"{written.photographs} {noun} credited in {escape(str(written.table))} and {written.croissant.name}"
    _out.print(f"[green]Done:[/] {done}.", soft_wrap=True, highlight=False)


@app.command()
def takedown(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="URL_OR_SHA256…", help="Address of a picture or of the page about it, or its sha256."),
    ],
    reason: Annotated[str, typer.Option(help="Why, for the manifests and the list.")] = "on request",
    copies: Annotated[bool, typer.Option(help="Also take down near-duplicates among the crawled photographs.")] = True,
    history: Annotated[
        bool, typer.Option("--history", help="Also delete the Dagster runs whose thumbnails may show them.")
    ] = False,
) -> None:
    """Remove pictures for good: now, from everything that is stored, and from every crawl to come.

    `kwcolor takedown https://archive.example/item/17/ --reason "asked by the photographer"` takes down all
    pictures of that page; the address of a file, or a sha256, only that one. Give the page as well where an
    archive may offer the same picture in other sizes. `kwcolor attribution` lists addresses and sha256.

    What shows them goes at once: the stored files, pairs, reports and gallery pictures; with `--history` also
    the runs in Dagster's history that may show them in a thumbnail. The next `kwcolor run` computes the rest
    without them and trains again. **Models that were trained before keep what they learned**, and files in your
    own folders stay: they are only no longer taken in.
    """
    from kwcolor_pipeline.orchestration.takedown import take_down

    outcome = take_down(load_settings(), pictures, reason, copies, history)
    count = f"{len(outcome.pictures)} {'picture' if len(outcome.pictures) == 1 else 'pictures'}"
    _out.print(f"[green]Done:[/] {count} taken down, and no crawl takes them again.", highlight=False)
    lines = [
        f"{'near-duplicate: ' if picture.is_copy else ''}{picture.title}, {', '.join(picture.partitions)}, "
        f"sha256 {picture.photo_id}"
        for picture in outcome.pictures
    ]
    lines += [f"not stored here, and recorded for every crawl to come: {name}" for name in outcome.unknown]
    lines += [
        f"your own file stays where it is and is no longer taken in: {address}"
        for picture in outcome.pictures
        for address in picture.local_files
    ]
    lines += outcome.notes
    if outcome.pictures:
        lines.append("now `kwcolor run` computes without them; models that were trained before keep what they learned")
    for line in lines:
        _out.print(f"  · {escape(line)}", soft_wrap=True, highlight=False)
    _finish(outcome.problems)


@app.command()
def dagster_home() -> None:
    """Write Dagster's configuration into the home and print the folder, for those who start Dagster themselves.

    `export DAGSTER_HOME=$(kwcolor dagster-home)`, as the images in `deploy/` do.
    """
    from kwcolor_pipeline.servers import prepare_dagster_home

    typer.echo(prepare_dagster_home(load_settings()))


@app.command()
def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="DEST", help="Folder of backups, on another disk; made if missing.")
    ],
    keep: Annotated[int | None, typer.Option(min=1, help="Backups that stay; older ones are deleted.")] = None,
) -> None:
    """Copy the home: photographs, tables, pairs, models, reports, MLflow's and Dagster's databases.

    Later backups into the same folder copy only what is new. One that is interrupted leaves no backup, and the next
    goes on with it. What a shared store or a shared database holds is not in it.
    """
    from kwcolor_pipeline.backup import back_up

    settings = load_settings()
    done = back_up(settings.paths, folder, keep=keep)
    made = f"{done.files} files, {done.copied} of them new ({done.bytes / 1e6:.1f} MB), in {done.list_file}"
    _out.print(f"[green]Done:[/] {escape(made)}.", soft_wrap=True, highlight=False)
    if settings.dagster_config or settings.mlflow_tracking_uri or settings.shared_store:
        _out.print("  what lies in shared databases and stores is not in it: see deploy/README.md", highlight=False)
    _finish(done.problems)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of backups.")],
    which: Annotated[str | None, typer.Option(help="Name of an older backup, as in `backups/NAME.json`.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a home that is not empty.")] = False,
) -> None:
    """Put the latest backup in the place of the home; every file is compared with its hash before.

    Stop `kwcolor ui` and runs first. Pictures that were taken down after the backup come back: take them down again.
    """
    from kwcolor_pipeline.backup import restore as put_back

    home = load_settings().paths
    done = put_back(folder, home, overwrite=overwrite, which=which)
    text = f"{done.files} files of {done.list_file.stem} are in {home.root}"
    _out.print(f"[green]Done:[/] {escape(text)}.", soft_wrap=True, highlight=False)
    if done.home_then != str(home.root.resolve()):
        _out.print(
            f"  the home lay in {escape(done.home_then)} then; MLflow finds its files only there, so move it back "
            "or start with another KWCOLOR_MLFLOW_EXPERIMENT",
            soft_wrap=True,
            highlight=False,
        )


@app.command()
def pull() -> None:
    """Fetch into this home what other machines made and put into the shared store.

    For `kwcolor review`, reports and copies on this machine; the steps of a run fetch what they need by themselves.
    """
    _shared_home().pull()
    _out.print("[green]Done:[/] this home has what the shared store has.", highlight=False)


@app.command()
def push() -> None:
    """Put into the shared store what this home has: once, when a home begins to be shared."""
    _shared_home().push()
    _out.print("[green]Done:[/] the shared store has what this home has.", highlight=False)


def _shared_home() -> "SharedHome":
    from kwcolor_pipeline.orchestration.shared_home import SharedHome

    shared = SharedHome.of(load_settings())
    if shared is None:
        raise SettingsProblem("No store is shared: set KWCOLOR_SHARED_STORE, for instance to s3://bucket/prefix.")
    return shared


@app.command()
def doctor(
    online: Annotated[bool, typer.Option(help="Also ask the sources on the network whether they answer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what works on this machine, and what to do about what does not."""
    from kwcolor_pipeline.doctor import diagnose

    findings = diagnose(load_settings(), online=online)
    if as_json:
        _out.print_json(json.dumps([vars(finding) for finding in findings]))
    else:
        marks: dict[Any, str] = {True: "[green]ok[/]", False: "[red]no[/]", None: "[yellow]--[/]"}
        table = Table("", "what", "says", show_lines=False)
        for finding in findings:
            remedy = f"\n→ {finding.remedy}" if finding.remedy else ""
            table.add_row(marks[finding.ok], finding.name, f"{finding.says}{remedy}")
        _out.print(table)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


def _model(settings: Settings, wanted: str) -> tuple[Path, str]:
    """Folder and name of the model that an option names."""
    if Path(wanted).is_dir():
        return Path(wanted), f"bundle {Path(wanted).resolve().name}"
    from kwcolor_pipeline.tracking.chosen_model import (
        CHAMPION_NAME,
        NO_CHAMPION,
        STARTER_NAME,
        has_registry,
        model_by_name,
        starter_model,
    )
    from kwcolor_pipeline.tracking.mlflow_tracking import open_tracking

    # Neither needs a registry, and making one takes longer than colorizing a photograph.
    if wanted == STARTER_NAME:
        return starter_model().folder, starter_model().name
    if wanted == CHAMPION_NAME and not has_registry(settings):
        return starter_model().folder, starter_model(NO_CHAMPION).name
    if wanted != CHAMPION_NAME and not wanted.startswith("models:/"):
        raise SettingsProblem(
            f"`{wanted}` is no model: give `champion`, `starter`, `models:/kwcolor/NUMBER` or a bundle's folder."
        )
    tracking = open_tracking(settings)
    tracking.prepare()
    chosen = model_by_name(wanted, tracking, settings)
    return chosen.folder, chosen.name
