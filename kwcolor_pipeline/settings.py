"""Every setting, in one documented model.

Values come, in this order, from arguments, from ``KWCOLOR_*`` environment variables (nested
fields after two underscores: ``KWCOLOR_LOC__BASE_URL``), from ``kwcolor.toml`` in the current
folder (or the file that ``KWCOLOR_CONFIG`` names), and from the defaults below.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator
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
    """When two photographs count as copies of one (bits of 64 that differ)."""

    phash_distance: int = Field(8, ge=0, le=20, description="Largest distance of perceptual hashes")
    dhash_distance: int = Field(6, ge=0, le=20, description="Largest distance of difference hashes")
    confirming_distance: int = Field(
        18, ge=0, le=64, description="Largest distance of the other hash, which has to confirm either of them"
    )


class CurationSettings(_Group):
    """What may be learned from."""

    min_side: int = Field(64, ge=16, description="Shortest side in pixels, after borders are trimmed")
    min_strong_chroma: float = Field(
        6.0, ge=0, description="CIELAB chroma that a twentieth of the pixels has to exceed; below it a picture is grey"
    )
    toned_spread: float = Field(
        1.2,
        ge=0,
        description="Spread of the CIELAB colours at equal lightness (chroma units) below which a picture is toned",
    )
    doubtful_spread: float = Field(
        3.0, ge=0, description="Spread below which a picture is toned if `toned_share` says so as well"
    )
    toned_share: float = Field(
        0.2, ge=0, le=1, description="Spread as a share of the picture's chroma below which a doubtful picture is toned"
    )
    max_spread: float = Field(40.0, gt=0, description="Spread that no photograph has: colour charts, rainbows")
    max_even_share: float = Field(
        0.2, ge=0, le=1, description="Share of exactly even, not dark pixels above which it is a drawing, logo or page"
    )
    max_transparent_share: float = Field(
        0.25, ge=0, le=1, description="Share of transparent pixels above which it is a drawing or a logo"
    )
    refuse_words: list[str] = Field(
        ["colorized", "colourized", "colourised", "colorised", "hand-colored", "hand-coloured", "hand-tinted"],
        description="Words in a title that mark colours which nobody photographed",
    )


class PairSettings(_Group):
    """How colour photographs become pairs."""

    size: int = Field(256, ge=32, le=1024, description="Shortest side of a pair in pixels; smaller pictures are kept")
    decolorizer: str = Field(
        "lightness",
        pattern="^(lightness|luma)$",
        description="`lightness`: the grey of the same CIE L*; `luma`: PIL's mode L, as the paper did",
    )
    valid_share: float = Field(0.08, gt=0, lt=0.5, description="Share of the clusters that choose the checkpoint")
    test_share: float = Field(0.22, gt=0, lt=0.5, description="Share of the clusters that are only ever measured")


class Settings(BaseSettings):
    """All settings of the pipeline."""

    model_config = SettingsConfigDict(env_prefix="KWCOLOR_", env_nested_delimiter="__", extra="forbid")

    home: Path = Field(Path("var"), description="The only folder that is written to")
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
    executor: str = Field("in_process", description="How Dagster runs the steps of a run: in_process or multiprocess")
    mlflow_tracking_uri: str | None = Field(
        None, description="MLflow server or database; a SQLite file in the home folder where it is not set"
    )
    mlflow_ui_url: str = Field("http://127.0.0.1:5000", description="Where people open MLflow; for links")
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
    pairs: PairSettings = PairSettings()

    @field_validator("sources", "korean_war_sources", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("home", mode="before")
    @classmethod
    def _local_home(cls, value: Any) -> Any:
        if "://" in str(value):
            raise ValueError("has to be a local folder")
        return Path(value).expanduser().absolute()

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
