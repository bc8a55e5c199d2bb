"""The source `sample`: pictures that installed packages carry.

Belongs here: the sample index as candidates. The index itself is in `kwcolor_pipeline.sample`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from kwcolor_pipeline.crawling.sources.base import Candidate, LocalSource, file_status, file_version
from kwcolor_pipeline.home import fingerprint
from kwcolor_pipeline.sample import Role, SamplePhoto, read_index


class SampleSource(LocalSource):
    """Sample pictures by the year in which a package first published them.

    With ``target`` the grey photographs to colorize, otherwise colour photographs and what curation
    has to refuse.
    """

    name = "sample"
    about = "the photographs that installed libraries carry"
    licence_rule = "that of the library which carries it: recorded, not judged"
    year_meaning = "published"

    def __init__(self, partitions: Sequence[str], *, target: bool) -> None:
        self._partitions = partitions
        roles = {Role.TARGET} if target else {Role.COLOUR, Role.REFUSE}
        self._photos = [_candidate(photo) for photo in read_index() if photo.role in roles]

    def covers(self, partitions: Sequence[str]) -> set[str]:
        return {self.partition(candidate, self._partitions) for candidate in self._photos} & set(partitions)

    def candidates(self, key: str) -> Iterator[Candidate]:
        return (candidate for candidate in self._photos if self.partition(candidate, self._partitions) == key)

    def listing_fingerprint(self, key: str) -> str:
        return fingerprint(
            [[asdict(listed), file_version(file_status(listed.file_url))] for listed in self.candidates(key)]
        )


def _candidate(photo: SamplePhoto) -> Candidate:
    return Candidate(
        source=SampleSource.name,
        source_id=photo.id,
        file_url=photo.path.as_uri(),
        landing_url=photo.landing_url,
        title=photo.title,
        creator=photo.creator,
        licence=photo.licence,
        licence_url=photo.licence_url,
        date_text=str(photo.year_taken) if photo.year_taken else None,
        first_year=photo.year_taken,
        last_year=photo.year_taken,
        year_published=photo.year_published,
    )
