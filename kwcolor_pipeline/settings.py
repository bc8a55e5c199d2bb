"""Every setting, in one documented model.

Values come, in this order, from arguments, from ``KWCOLOR_*`` environment variables (nested
fields after two underscores: ``KWCOLOR_LOC__BASE_URL``), from ``kwcolor.toml`` in the current
folder (or the file that ``KWCOLOR_CONFIG`` names), and from the defaults below.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from kwcolor_pipeline.home import Home

#: Variables of that prefix which are no settings: the file to read, and what only tests read.
_NOT_SETTINGS = ("KWCOLOR_CONFIG", "KWCOLOR_TEST_")


class SettingsProblem(Exception):
    """A setting that cannot be used; the message is one plain sentence for the operator."""


#: How lists of words are written; part of their descriptions.
_WORDS = "Whole words and phrases, whatever their case, accents and hyphens; `*` at the end stands for any letters"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LocSettings(_Group):
    """Library of Congress, JSON API (https://www.loc.gov/apis/json-and-yaml/)."""

    base_url: str = Field("https://www.loc.gov", description="Address of the API, without a slash at the end")
    collections: list[str] = Field(
        ["collections/fsa-owi-color-photographs"],
        description="Paths of the collections (or `photos`) that `crawled_photos` lists",
    )
    korean_war_collections: list[str] = Field(
        ["photos"], description="Paths that `korean_war_photos` lists; `photos` is searched with the query below"
    )
    korean_war_query: str = Field("Korean War", description="Words that `korean_war_photos` searches for")
    first_year: int = Field(1939, description="First year that the collections cover")
    last_year: int = Field(1944, description="Last year that the collections cover")
    page_size: int = Field(100, description="Records a listing page: 25, 50, 100 or 150")
    requests_per_10s: int = Field(20, gt=0, description="Published limit of listings in 10 seconds")
    requests_per_minute: int = Field(80, gt=0, description="Published limit of listings in a minute")
    downloads_per_10s: int = Field(40, gt=0, description="Published limit of pictures in 10 seconds")


_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


class CommonsSettings(_Group):
    """Wikimedia Commons, MediaWiki API (https://commons.wikimedia.org/w/api.php)."""

    base_url: str = Field("https://commons.wikimedia.org", description="Address of the wiki, without `/w/api.php`")
    categories: list[str] = Field(
        ["Color photographs from the Farm Security Administration"],
        description="Categories that `crawled_photos` lists, with or without `Category:`. `{year}` stands for the "
        "partition's year; such an entry is not asked for `undated`, and of what it lists, what has no date counts as "
        "taken in that year",
    )
    searches: list[str] = Field(
        ['Kodachrome "World War II" {year}'],
        description="Searches that `crawled_photos` makes, as in Commons' search box; `{year}` as above, but without a "
        "date a photograph that it finds is left out. What the default finds could not be tried offline",
    )
    korean_war_categories: list[str] = Field(
        ["Korean War in {year}", *(f"Korean War in {month} {{year}}" for month in _MONTHS)],
        description="Categories that `korean_war_photos` lists. `Korean War in February 1953` is known to exist; the "
        "other months are named after it, the whole years are a guess, and one that does not exist is passed over",
    )
    korean_war_searches: list[str] = Field(
        ['"Korean War" photograph {year}'],
        description="Searches that `korean_war_photos` makes. What the default finds could not be tried offline",
    )
    subcategory_depth: int = Field(1, ge=0, le=5, description="How deep subcategories are followed")
    first_year: int = Field(1939, description="First year that the categories cover")
    last_year: int = Field(1946, description="Last year that the categories cover")
    picture_width: int = Field(
        1920,
        description="Width in pixels of the copies that are fetched, one that Commons allows: 20, 40, 60, 120, 250, "
        "330, 500, 960, 1280, 1920, 3840; 0 for the original file",
    )
    requests_per_10s: int = Field(
        10, gt=0, description="Listings in 10 seconds; Wikimedia asks for one after the other and publishes no number"
    )
    requests_per_minute: int = Field(50, gt=0, description="Listings in a minute; each lists up to 50 photographs")


class NaraSettings(_Group):
    """US National Archives, Catalog API v2 (https://catalog.archives.gov/api/v2/api-docs/)."""

    base_url: str = Field("https://catalog.archives.gov/api/v2", description="Address of the API")
    api_key: pydantic.SecretStr | None = Field(None, description="Key of the API; ask Catalog_API@nara.gov for one")
    queries: list[str] = Field(
        ["World War II color photographs"], description="Words that `crawled_photos` searches for"
    )
    korean_war_queries: list[str] = Field(["Korean War"], description="Words that `korean_war_photos` searches for")
    first_year: int = Field(1939, description="First year that the queries cover")
    last_year: int = Field(1946, description="Last year that the queries cover")
    queries_per_month: int = Field(10_000, gt=0, description="Queries that the key allows in a month")


class FlickrSettings(_Group):
    """Flickr Commons (https://www.flickr.com/services/api/flickr.photos.search.html)."""

    base_url: str = Field("https://api.flickr.com", description="Address of the API, without `/services/rest/`")
    api_key: pydantic.SecretStr | None = Field(None, description="Key of the API; see flickr.com/services/apps/create")
    queries: list[str] = Field(
        ["color", "Kodachrome"],
        description="Words that `crawled_photos` searches for; a photograph has to have all of one query",
    )
    korean_war_queries: list[str] = Field(["Korean War"], description="Words that `korean_war_photos` searches for")
    first_year: int = Field(1939, description="First year that the queries cover")
    last_year: int = Field(1946, description="Last year that the queries cover")
    queries_per_hour: int = Field(3600, gt=0, description="Queries that a key allows in an hour")


class EuropeanaSettings(_Group):
    """Europeana, Search API (https://europeana.atlassian.net/wiki/spaces/EF/pages/2385739812/Search+API)."""

    base_url: str = Field("https://api.europeana.eu", description="Address of the API, without `/record/v2/`")
    api_key: pydantic.SecretStr | None = Field(None, description="Key of the API; see apis.europeana.eu")
    queries: list[str] = Field(
        ['(war OR soldier) AND (Kodachrome OR Agfacolor OR "colour photograph" OR "color photograph" OR Farbfoto)'],
        description="Searches that `crawled_photos` makes, with AND, OR and quotes; the records are in many languages",
    )
    korean_war_queries: list[str] = Field(
        ['"Korean War" OR Koreakrieg OR "guerre de Corée"'], description="Searches that `korean_war_photos` makes"
    )
    first_year: int = Field(1939, description="First year that the queries cover")
    last_year: int = Field(1946, description="Last year that the queries cover")


class GoogleSettings(_Group):
    """Google Images, the way of the paper: its years are years of publication and its licences unknown."""

    base_url: str = Field("https://www.google.com", description="Address of the search, without `/search`")
    queries: list[str] = Field(["World War II color photograph"], description="Words for `crawled_photos`")
    korean_war_queries: list[str] = Field(["Korean War photograph"], description="Words for `korean_war_photos`")
    allow_unknown_licence: bool = Field(
        False, description="Store pictures whose licence nobody states, as all are that Google finds"
    )
    ignore_robots: bool = Field(
        False, description="Ask for result pages although Google's robots.txt disallows them to programs"
    )
    requests_per_10s: int = Field(5, gt=0, description="Result pages that are asked for in 10 seconds")
    downloads_per_10s: int = Field(
        20, gt=0, description="Pictures that one host is asked for in 10 seconds; the many hosts publish no limits"
    )


class DownloadSettings(_Group):
    """Limits that hold for every picture, wherever it comes from."""

    max_bytes: int = Field(80_000_000, gt=0, description="Largest file that is accepted, in bytes")
    max_pixels: int = Field(
        120_000_000,
        gt=0,
        le=178_000_000,
        description="Largest picture that is accepted, in pixels (PIL opens no larger)",
    )
    connect_timeout: float = Field(10, gt=0, description="Seconds to wait for a connection")
    read_timeout: float = Field(30, gt=0, description="Seconds to wait for the next bytes")
    total_timeout: float = Field(300, gt=0, description="Seconds that one picture may take in all")
    attempts: int = Field(4, ge=1, description="Tries of one request before it counts as failed")
    recheck_days: float = Field(
        365, ge=0, description="Days after which a stored picture is asked for again, on condition that it changed"
    )


class NearDuplicateSettings(_Group):
    """When two photographs count as copies of one."""

    phash_distance: int = Field(8, ge=0, le=20, description="Largest distance of perceptual hashes, bits of 64")
    dhash_distance: int = Field(6, ge=0, le=20, description="Largest distance of difference hashes, bits of 64")
    confirming_distance: int = Field(
        18, ge=0, le=64, description="Largest distance of the other hash, which has to confirm either of them"
    )
    second_look: bool = Field(
        True,
        description="Also compare photographs that look alike, laid over each other: finds crops, captions and turned "
        "copies, which hashes cannot, for about 10 ms a photograph once",
    )
    similarity: float = Field(
        0.45, gt=0, le=1, description="Cosine of two photographs' embeddings from which on they are compared"
    )
    doubtful_similarity: float = Field(
        0.4, gt=0, le=1, description="The same for photographs that one of the hashes calls near"
    )
    neighbours: int = Field(8, ge=1, description="Most similar photographs that one is compared with")
    coarse_score: float = Field(
        0.45, ge=-1, le=1, description="Correlation of small cut-outs below which a pair is not compared further"
    )
    same_score: float = Field(
        0.62, ge=-1, le=1, description="Correlation of two photographs laid over each other that makes them copies"
    )


class CurationSettings(_Group):
    """What may be learned from."""

    min_side: int = Field(64, ge=16, description="Shortest side in pixels, after borders are trimmed")
    min_strong_chroma: float = Field(
        6.0, ge=0, description="CIELAB chroma that a twentieth of the pixels has to exceed; below it a picture is grey"
    )
    min_spread: float = Field(
        0.8,
        ge=0,
        description="Spread of the CIELAB colours that lightness does not explain (chroma units); below it a picture "
        "is toned",
    )
    max_spread: float = Field(32.0, gt=0, description="Spread that no photograph has: colour charts, rainbows")
    max_even_share: float = Field(
        0.45, ge=0, le=1, description="Share of exactly even, not dark pixels above which it is a screenshot or a logo"
    )
    max_plain_share: float = Field(
        0.32,
        ge=0,
        le=1,
        description="Share of what is not ground in a few even colours above which it is a drawing, map or poster",
    )
    max_few_colours: float = Field(
        0.9, ge=0, le=1, description="Share of pixels of eight colours above which it is a page of text or a title card"
    )
    max_bar: float = Field(
        0.6, ge=0, le=1, description="Share of an edge-to-edge bar with other pixels on both sides: a collage above it"
    )
    max_transparent_share: float = Field(
        0.25, ge=0, le=1, description="Share of transparent pixels above which it is a drawing or a logo"
    )
    borderline_share: float = Field(
        0.15, ge=0, lt=1, description="Share of a bound within which a person is asked to look; the rule decides"
    )
    first_year_taken: int = Field(1930, description="Photographs that were taken before it are off topic")
    last_year_taken: int = Field(1960, description="Photographs that were taken after it are off topic")
    last_year_published: int | None = Field(
        None, description="The same for what was published after it; by default all, since pages show old photographs"
    )
    min_likeness: float = Field(
        0.45,
        ge=-1,
        le=1,
        description="Mean cosine of a photograph's embedding with its five nearest among those kept; below it a person "
        "is asked to look",
    )
    refuse_words: list[str] = Field(
        [
            *("coloriz*", "colouriz*", "coloris*", "colouris*", "recolor*", "recolour*", "deoldify", "photochrom*"),
            *("hand color*", "hand colour*", "hand tint*", "handcolor*", "handcolour*", "handtint*", "retouch*"),
            *("digitally restored", "digital restoration", "restored photo*", "restored picture*", "restored image*"),
            *("restored version", "photo restoration", "koloriert*", "nachkoloriert*", "coloread*", "ingekleurd*"),
        ],
        description=f"Words in a title that mark colours which nobody photographed. {_WORDS}",
    )
    doubtful_words: list[str] = Field(
        ["restored", "restoration", "enhanced", "upscaled"],
        description=f"Words in a title that may mean the picture or what it shows; a person is asked. {_WORDS}",
    )
    off_topic_words: list[str] = Field(
        [
            *("reenact*", "re enact*", "living history", "cosplay*", "airsoft", "paintball", "toy", "toys", "lego"),
            *("model kit*", "scale model*", "plastic model*", "miniature*", "diorama*", "action figure*", "wargam*"),
            *("replica*", "screenshot*", "screen shot*", "screen capture*", "video game*", "videogame*"),
            *("computer game*", "museum display*", "museum exhibit*", "in the museum", "postage stamp*"),
        ],
        description=f"Words in a title of what is not of the time; a person is asked. {_WORDS}",
    )
    off_topic_kinds: list[str] = Field(
        [
            *("poster*", "map", "maps", "cartoon*", "comic*", "illustration*", "drawing of", "painting of", "logo"),
            *("diagram*", "chart", "charts", "title card*", "document", "documents", "leaflet*"),
        ],
        description="Words at the start of a title, among the first four, of what is no photograph; a person is "
        f"asked. {_WORDS}",
    )


def _local_path(value: Any) -> Any:
    if value is None:
        return None
    if not str(value).strip() or "://" in str(value):
        raise ValueError("has to be a local file or folder")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:  # `~name` of nobody on this machine
        raise ValueError(str(error)) from error


_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_LocalPath = Annotated[Path, BeforeValidator(_local_path)]


class EvaluationSettings(_Group):
    """How models are compared, and what keeps one from becoming champion."""

    min_colourfulness_share: float = Field(
        0.2, ge=0, le=1, description="Share of the originals' mean colourfulness that a model's results have to reach"
    )
    max_more_uniform: float = Field(
        0.3, ge=0, le=1, description="How much more uniform in hue a model's results may be than the originals, of 1"
    )
    fid_weights: _LocalPath | None = Field(
        None, description="pytorch-fid's pt_inception-2015-12-05-6726825d.pth; FID is left out without it"
    )
    lpips_weights: _LocalPath | None = Field(
        None,
        description="torchvision's alexnet-owt-7be5be79.pth; needs `pip install --no-deps lpips==0.1.4`; LPIPS is left "
        "out without it",
    )
    target_photographs: int = Field(
        12, ge=0, description="Photographs without colours that the report shows and whose stability it measures"
    )


class ReviewSettings(_Group):
    """What a person decides about photographs."""

    decisions: _LocalPath | None = Field(
        None,
        description="CSV file of the decisions that win over every rule, for instance one under version control; "
        "review/decisions.csv in the home folder where it is not set",
    )


class PairSettings(_Group):
    """How colour photographs become pairs."""

    size: int = Field(256, ge=32, le=1024, description="Shortest side of a pair in pixels; smaller pictures are kept")
    decolorizer: str = Field(
        "lightness",
        pattern="^(lightness|luma|panchromatic|orthochromatic)$",
        description="`lightness`: the grey of the same CIE L*; `luma`: PIL's mode L, as the paper did; `panchromatic` "
        "and `orthochromatic`: as film saw it",
    )
    valid_share: float = Field(0.08, gt=0, lt=0.5, description="Share of the clusters that choose the checkpoint")
    test_share: float = Field(0.22, gt=0, lt=0.5, description="Share of the clusters that are only ever measured")


class AutomationSettings(_Group):
    """What Dagster does by itself once its sensors and schedules are switched on; docs/automation.md."""

    min_change: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Share of the pairs that train which has to differ from what the model was trained on before it is "
        "trained again; less waits for more, or for the monthly retraining; 0: any change trains",
    )


class WatchSettings(_Group):
    """The folder whose new pictures are colorized by themselves."""

    folder: _LocalPath | None = Field(None, description="Folder that the sensor `colorize_watched_folder` looks into")
    output: _LocalPath | None = Field(
        None, description="Folder of the results; `colorized` in the watched folder where it is not set"
    )
    format: str = Field(
        "jpg", pattern="^(same|jpg|jpeg|png|tif|tiff|webp|heic|heif|jp2)$", description="Ending of the results"
    )

    @model_validator(mode="after")
    def _results_elsewhere(self) -> "WatchSettings":
        if self.folder and self.output == self.folder:
            raise ValueError("`output` has to be another folder than `folder`")
        return self


class ColorizeSettings(_Group):
    """Limits of `kwcolor colorize` and of the watched folder, whose pictures are one's own."""

    max_pixels: int = Field(
        250_000_000,
        gt=0,
        description="Largest picture that is colorized, in pixels of all pages; above 178 million only as TIFF",
    )


class StudioSettings(_Group):
    """Limits of `kwcolor studio`, whose pictures may be anybody's; `colorize.max_pixels` holds there too."""

    max_megabytes: int = Field(300, gt=0, description="Largest file that is taken, in MiB")
    max_waiting: int = Field(20, gt=0, description="Photographs that may wait to be colorized, over all people")


class NoticeSettings(_Group):
    """Who is told of runs that fail, besides the log. Give addresses with a secret in them in the environment."""

    webhook_url: pydantic.SecretStr | None = Field(
        None, description='Address that is sent `{"text": …}`, as incoming webhooks of Slack take it'
    )
    email_to: Annotated[list[str], NoDecode] = Field([], description="Addresses that get an e-mail, comma separated")
    email_from: str | None = Field(None, description="Sender of the e-mails; the first recipient where it is not set")
    smtp_host: str = Field("localhost", description="Mail server")
    smtp_port: int = Field(25, gt=0, lt=65536, description="Its port: 25, 465 for `tls`, 587 for `starttls`")
    smtp_security: str = Field(
        "none", pattern="^(none|starttls|tls)$", description="`none`, `starttls`, or `tls` from the first byte"
    )
    smtp_user: str | None = Field(None, description="Name to log in with; nobody logs in where it is not set")
    smtp_password: pydantic.SecretStr | None = Field(None, description="Its password")

    @field_validator("email_to", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> "NoticeSettings":
        if self.smtp_password and self.smtp_security == "none" and self.smtp_host not in _THIS_MACHINE:
            raise ValueError("a password needs `smtp_security` starttls or tls, unless the mail server is localhost")
        return self


class BaselineSettings(_Group):
    """Other people's colorizers that a model is compared with; `kwcolor baselines` says how to get each."""

    deoldify_artistic: _LocalPath | None = Field(
        None, description="DeOldify's ColorizeArtistic_gen.pth; one with another sha256 is not opened"
    )
    deoldify_stable: _LocalPath | None = Field(
        None, description="DeOldify's ColorizeStable_gen.pth; one with another sha256 is not opened"
    )
    deoldify_onnx: _LocalPath | None = Field(None, description="ONNX export of one of DeOldify's networks")
    deoldify_onnx_values: str = Field(
        "pixels",
        pattern="^(pixels|unit|normalised)$",
        description="What that export takes and gives: `pixels` RGB from 0 to 255, `unit` RGB from 0 to 1, "
        "`normalised` values normalised with ImageNet's statistics, as the bare network does",
    )
    ddcolor_onnx: _LocalPath | None = Field(None, description="ONNX export of DDColor")
    folders: Annotated[dict[str, _LocalPath], NoDecode] = Field(
        {},
        description="Folders of results that other programs made, each file named after its photograph; "
        "`name=folder`, comma separated, or a table. `kwcolor baselines --export` writes what to colorize",
    )
    render_factor: int = Field(
        35,
        ge=2,
        le=100,
        description="Sixteenths of the side of the square at which DeOldify sees a picture; at its default of 35 a "
        "picture takes about 40 s on two CPU cores",
    )

    @field_validator("folders", mode="before")
    @classmethod
    def _named_folders(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        folders: dict[str, str] = {}
        for entry in filter(None, (part.strip() for part in value.split(","))):
            name, equals, folder = (part.strip() for part in entry.partition("="))
            if not (name and equals and folder) or name in folders:
                raise ValueError(f"has to be `name=folder`, comma separated, each name once, and `{entry}` is not")
            folders[name] = folder
        return folders


class Settings(BaseSettings):
    """All settings of the pipeline."""

    model_config = SettingsConfigDict(env_prefix="KWCOLOR_", env_nested_delimiter="__", extra="forbid")

    home: Path = Field(Path("var"), description="The only folder that is written to")
    shared_store: str | None = Field(
        None,
        description="fsspec address (`s3://bucket/prefix`) of the store that several machines share: each step fetches "
        "what it needs into its own home and puts there what it made; see deploy/README.md",
    )
    sources: Annotated[list[str], NoDecode] = Field(
        ["sample"], description="Where colour photographs come from, comma separated; `kwcolor sources` lists them"
    )
    korean_war_sources: Annotated[list[str], NoDecode] = Field(
        ["sample"], description="Where the photographs to colorize come from, in the same form"
    )
    contact: str | None = Field(
        None, description="E-mail or web address of the operator; archives on the network are told it"
    )
    preset: str = Field(
        "demo", description="Training preset: demo (two CPU cores), archive (one GPU) or paper (the recipe of 2020)"
    )
    training: dict[str, Any] = Field({}, description="Fields of the preset to replace, e.g. KWCOLOR_TRAINING__SIZE=96")
    device: str = Field("auto", description="Where networks run: auto, cpu, cuda, cuda:1, mps")
    training_processes: int = Field(
        1,
        ge=1,
        description="Processes that train together on this machine, one for each GPU; for several machines see "
        "docs/training.md",
    )
    dagster_config: Annotated[list[_LocalPath], NoDecode] = Field(
        [],
        description="Files whose entries replace those of the pipeline's dagster.yaml, comma separated; deploy/ has "
        "some, for a shared database or a run launcher",
    )
    executor: str = Field(
        "in_process",
        description="How Dagster runs the steps of a run: in_process or multiprocess; ray or kubernetes as "
        "deploy/README.md tells",
    )
    mlflow_tracking_uri: str | None = Field(
        None, description="MLflow server or database; a SQLite file in the home folder where it is not set"
    )
    mlflow_ui_url: str = Field("http://127.0.0.1:5000", description="Where people open MLflow; for links")
    dagster_ui_url: str = Field("http://127.0.0.1:3000", description="Where people open Dagster; for links")
    mlflow_experiment: str = Field("kwcolor", description="MLflow experiment that holds the runs")
    loc: LocSettings = LocSettings()
    commons: CommonsSettings = CommonsSettings()
    nara: NaraSettings = NaraSettings()
    flickr: FlickrSettings = FlickrSettings()
    europeana: EuropeanaSettings = EuropeanaSettings()
    google: GoogleSettings = GoogleSettings()
    download: DownloadSettings = DownloadSettings()
    near_duplicates: NearDuplicateSettings = NearDuplicateSettings()
    curation: CurationSettings = CurationSettings()
    review: ReviewSettings = ReviewSettings()
    pairs: PairSettings = PairSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    baselines: BaselineSettings = BaselineSettings()
    automation: AutomationSettings = AutomationSettings()
    colorize: ColorizeSettings = ColorizeSettings()
    studio: StudioSettings = StudioSettings()
    watch: WatchSettings = WatchSettings()
    notices: NoticeSettings = NoticeSettings()

    @field_validator("sources", "korean_war_sources", "dagster_config", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("home", mode="before")
    @classmethod
    def _local_home(cls, value: Any) -> Any:
        if "://" in str(value):
            raise ValueError("has to be a local folder")
        return Path(value).expanduser().absolute()

    @field_validator("shared_store")
    @classmethod
    def _address_without_secrets(cls, value: str | None) -> str | None:
        if value is not None and ("://" not in value or "@" in value):
            raise ValueError("has to be an address such as s3://bucket/prefix, without user and password in it")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, Path(os.environ.get("KWCOLOR_CONFIG", "kwcolor.toml")))
        return init_settings, env_settings, toml

    @property
    def paths(self) -> Home:
        return Home(self.home)

    @property
    def tracking_uri(self) -> str:
        """The MLflow tracking URI that is in force."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.paths.mlflow_database}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises SettingsProblem with one sentence that names the setting and what it may be.
    """
    config = os.environ.get("KWCOLOR_CONFIG")
    if config and not Path(config).exists():
        raise SettingsProblem(f"KWCOLOR_CONFIG names {config}, which does not exist; unset it or create the file.")
    for variable in os.environ:
        if variable.startswith("KWCOLOR_") and not variable.startswith(_NOT_SETTINGS):
            name = variable.removeprefix("KWCOLOR_").partition("__")[0].lower()
            if name not in Settings.model_fields:
                raise SettingsProblem(f"{variable} is set, but there is no setting `{name}`; unset it or correct it.")
    try:
        return Settings(**overrides)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        given = "" if isinstance(first["input"], dict) else f" (it is {first['input']!r})"
        raise SettingsProblem(f"Setting `{field}`{given}: {first['msg']}.") from error
    except (SettingsError, ValueError) as error:
        raise SettingsProblem(f"The settings cannot be read: {error}.") from error
