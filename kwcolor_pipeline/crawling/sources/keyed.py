"""What the sources have in common that an archive gives a key for: `nara`, `flickr` and `europeana`.

Belongs here: the key, the searched words and the years. What each archive is asked and answers does not.
"""

from collections.abc import Sequence

from kwcolor_pipeline.crawling.sources.base import Limits, PagedSource
from kwcolor_pipeline.photos.manifest import KOREAN_WAR_YEARS, UNDATED
from kwcolor_pipeline.settings import EuropeanaSettings, FlickrSettings, NaraSettings


class KeyedSource(PagedSource):
    """An archive that is searched by words and years, with a key."""

    year_meaning = "taken"
    #: Whether the archive can be asked for what has no year.
    has_undated: bool = False
    #: Whose key it is, and where one is had.
    key_of: str
    key_is_had: str

    def __init__(
        self,
        settings: NaraSettings | FlickrSettings | EuropeanaSettings,
        partitions: Sequence[str],
        page_limits: Limits,
        *,
        target: bool,
    ) -> None:
        self.base_url = settings.base_url.rstrip("/")
        self.base_url_is_set = "base_url" in settings.model_fields_set
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self._queries = settings.korean_war_queries if target else settings.queries
        self._years = KOREAN_WAR_YEARS if target else range(settings.first_year, settings.last_year + 1)
        self._partitions = partitions
        self.page_limits = page_limits
        # The pictures lie on servers that publish no limit, many of them small: a pace at which nobody notices.
        self.picture_limits = Limits(((20, 10),), at_once=2)

    def problem(self) -> str | None:
        if self._key and self._key.isascii() and self._key.isprintable():
            return None
        setting = f"KWCOLOR_{self.name.upper()}__API_KEY"
        return f"{self.name} needs a key of {self.key_of}; set {setting} (keys are had {self.key_is_had})."

    def covers(self, partitions: Sequence[str]) -> set[str]:
        undated = {UNDATED} if self.has_undated else set()
        return {*map(str, self._years), *undated} & set(partitions)
