"""What makes a whole photograph doubtful, whichever of its copies is looked at; a person has to decide then.

Belongs here: copies that contradict each other about colour, and titles and dates that speak of another topic. What
speaks against a single copy is the affair of ``rules``.
"""

from collections.abc import Mapping, Sequence

from kwcolor_pipeline.photos.measured import Row
from kwcolor_pipeline.photos.rules import COLOURLESS, TITLE_SAYS_COLORIZED, Verdict
from kwcolor_pipeline.photos.topic import Words, year_outside
from kwcolor_pipeline.settings import CurationSettings

# A title says in so many words at its start what it is that is shown: "Poster for a fair", not "boys with a poster".
_NAMING_WORDS = 4


class Doubts:
    """Finds doubts as the settings want them; made once, since the lists of words are long."""

    def __init__(self, wanted: CurationSettings) -> None:
        self._wanted = wanted
        self._doubtful = Words(wanted.doubtful_words)
        self._off_topic = Words(wanted.off_topic_words)
        self._kinds = Words(wanted.off_topic_kinds)

    def about(self, shown: Row, cluster: Sequence[Row], verdicts: Mapping[str, Verdict]) -> Verdict | None:
        """The doubt about a photograph whose copy ``shown`` passes the rules and has what it lacked from the others.

        ``verdicts`` are those of the rules on all copies in ``cluster``, by photo_id. None where nothing is doubtful.
        """
        # Most titles are those of one copy; the same title need not be searched twice.
        titles = list(dict.fromkeys(title for copy in (shown, *cluster) if (title := copy["title"])))
        return self._about_colour(cluster, verdicts, titles) or self._about_topic(shown, titles)

    def _about_colour(
        self, cluster: Sequence[Row], verdicts: Mapping[str, Verdict], titles: Sequence[str]
    ) -> Verdict | None:
        catalogued = {copy.get("catalogued_tone") for copy in cluster}
        if "colour" in catalogued:
            return None
        of_copies = [verdicts[copy["photo_id"]] for copy in cluster]
        word = _first(self._doubtful, titles)
        if "bw" in catalogued:
            why = "The archive calls the original black and white"
        # A copy that is nearly coloured is no witness against the others.
        elif any(verdict.reason in COLOURLESS and verdict.review is None for verdict in of_copies):
            why = "Another copy has no colours, so these may have been added later"
        elif any(verdict.reason == TITLE_SAYS_COLORIZED for verdict in of_copies):
            why = "The title of another copy says that it was colorized"
        elif word:
            why = f'The title says "{word}", which may mean the picture or what it shows'
        else:
            return None
        return Verdict("perhaps_colorized", review=why)

    def _about_topic(self, shown: Row, titles: Sequence[str]) -> Verdict | None:
        word = _first(self._off_topic, titles) or _first(self._kinds, titles, _NAMING_WORDS)
        if word:
            return Verdict("off_topic", review=f'The title says "{word}"')
        outside = year_outside(shown, self._wanted)
        if outside:
            year, bound = outside
            return Verdict("off_topic", year, bound, "Taken or published outside the wanted years")
        return None


def _first(words: Words, titles: Sequence[str], within: int | None = None) -> str | None:
    return next((word for title in titles if (word := words.first_in(title, within))), None)
