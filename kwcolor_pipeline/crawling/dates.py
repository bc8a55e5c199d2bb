"""Dates as archives write them, read as a range of years and how exact it is.

Belongs here: text to years. Which partition a range belongs to is the manifest's affair.
"""

import re
from dataclasses import dataclass
from typing import Literal

#: Longer texts are prose and not dates; what lies beyond is not read.
_LONGEST = 200
_MARKS = str.maketrans("", "", "[]?<>()")
_YEAR = r"(?:1[5-9]|20)[0-9]{2}"
_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
_MONTH_NAME = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
#: One day, or the first and last of several: `6`, `6th`, `5-7`.
_DAYS = rf"(?P<day>{_DAY})(?:st|nd|rd|th)?(?:\s*[-–]\s*(?P<last_day>{_DAY})(?:st|nd|rd|th)?)?(?![0-9])"

_SHORT_RANGE = re.compile(rf"(?<![0-9])({_YEAR})\s*[-–/]\s*([0-9]{{2}})(?![0-9-])")
_DECADE = re.compile(r"(?<![0-9])((?:1[5-9]|20)[0-9])(?:-(?![0-9])|0'?s\b)")
_CENTURY = re.compile(r"(?<![0-9])(1[5-9]|20)--(?![0-9])")
_SINGLE = re.compile(rf"(?<![0-9])({_YEAR})(?![0-9])")
#: `194?` and `19??`, which say what `194-` and `19--` say.
_OPEN_DECADE = re.compile(r"(?<![0-9])((?:1[5-9]|20)[0-9])\?(?![0-9?])")
_OPEN_CENTURY = re.compile(r"(?<![0-9])(1[5-9]|20)\?\?")

#: The ways to write a day or a month of a year; the groups `day`, `last_day`, `month` hold what is said.
_CALENDAR = [
    re.compile(form)
    for form in (
        # 1943-06-01, 1943-06, 1943-06-00, 1943:06:01 12:00:00
        rf"(?<![0-9]){_YEAR}[-/:.](?P<month>0?[1-9]|1[0-2])(?:[-/:.](?:(?P<day>{_DAY})|00))?(?![0-9-])",
        # 6.6.1944, 06/06/1944: whichever of the two is the month
        rf"(?<![0-9/.-])(?P<day>{_DAY})[-/.](?P<month>{_DAY})[-/.]{_YEAR}(?![0-9])",
        # 06/1944
        rf"(?<![0-9/.-])(?P<month>0?[1-9]|1[0-2])[-/.]{_YEAR}(?![0-9])",
        # 12 April 1943, 6th of June, 1944, June 1943
        rf"(?:(?<![0-9-]){_DAYS}\s+(?:of\s+)?)?\b(?P<month>{_MONTH_NAME}),?\s+{_YEAR}(?![0-9])",
        # Apr. 12, 1943
        rf"\b(?P<month>{_MONTH_NAME})\s+{_DAYS},?\s+{_YEAR}(?![0-9])",
        # 1943 Apr. 12, 1943 Apr.
        rf"(?<![0-9]){_YEAR},?\s+(?P<month>{_MONTH_NAME})(?:\s+{_DAYS})?",
    )
]
_ANY_MONTH_NAME = re.compile(rf"\b{_MONTH_NAME}")
#: Brackets around digits: the cataloguer's own conclusion, `[1943]` as well as `194[3]`.
_INFERRED = re.compile(r"\[[^\]]*[0-9]")
_DOUBTED = re.compile(
    r"\b(?:ca|circa|about|around|approx|approximately|probably|possibly|perhaps|maybe|likely|presumably|presumed|"
    r"supposedly|estimated|est|before|after|pre|post|until|since|earlier|later|"
    r"(?:may|might|could) be)\b|\bc(?:a|irca)?\.?\s*(?=[0-9])|~"
)

Precision = Literal["day", "month", "year", "range", "decade", "century"]


@dataclass(frozen=True)
class ArchiveDate:
    """What a date says: the years that it may mean, how exact it is, and whether it is doubted."""

    first: int
    last: int
    """equal to ``first`` for a single year"""
    precision: Precision
    uncertain: bool = False
    """True of `circa 1943`, `1943?`, `194[3]`, `[1943]`, `before 1945`"""

    @property
    def described(self) -> str:
        """The precision as manifests record it: `year`, or `year, uncertain`."""
        return f"{self.precision}, uncertain" if self.uncertain else self.precision


def read_date(text: str | None) -> ArchiveDate | None:
    """The date that ``text`` names; None where it names none.

    Reads what library catalogues, Commons and programs write, in English: besides what `year_range` reads
    ``Apr. 12, 1943``, ``6 June 1944``, ``1943-06``, ``circa 1943``, ``[1943]``, ``before 1945``.
    """
    years = year_range(text)
    if years is None:
        return None
    written = (text or "")[:_LONGEST].lower()
    doubted = "?" in written or _INFERRED.search(written) or _DOUBTED.search(written)
    return ArchiveDate(*years, precision=_precision(_cleaned(text), *years), uncertain=bool(doubted))


def year_range(text: str | None) -> tuple[int, int] | None:
    """First and last year that a date may mean (equal for a single year); None where it names none.

    Reads what library catalogues write: ``1943``, ``194[3] Apr.?``, ``[between 1940 and 1946]``,
    ``[1942 or 1943]``, ``1939-44``, ``1940s``, ``[194-?]``, ``194?``, ``19--``, ``1943-06-01``. Of several
    years the earliest and the latest count. Years from 1500 to 2099 are recognized.
    """
    cleaned = _cleaned(text)
    years = [int(year) for year in _SINGLE.findall(cleaned)]
    years += [last for year, short in _SHORT_RANGE.findall(cleaned) if (last := _end_of_range(int(year), int(short)))]
    years += [year for span in [*_decades(cleaned), *_centuries(cleaned)] for year in span]
    return (min(years), max(years)) if years else None


def _cleaned(text: str | None) -> str:
    """The text without the marks of catalogues, in small letters."""
    written = _OPEN_CENTURY.sub(r"\1--", (text or "")[:_LONGEST].lower())
    return _OPEN_DECADE.sub(r"\1-", written).translate(_MARKS)


def _decades(cleaned: str) -> list[tuple[int, int]]:
    return [(int(start) * 10, int(start) * 10 + 9) for start in _DECADE.findall(cleaned)]


def _centuries(cleaned: str) -> list[tuple[int, int]]:
    return [(int(start) * 100, int(start) * 100 + 99) for start in _CENTURY.findall(cleaned)]


def _end_of_range(first: int, short: int) -> int | None:
    """The year that ``44`` means in ``1939-44``; None where the two digits may be a month."""
    return first - first % 100 + short if short > max(12, first % 100) else None


def _precision(cleaned: str, first: int, last: int) -> Precision:
    if (first, last) in _decades(cleaned):
        return "decade"
    if (first, last) in _centuries(cleaned):
        return "century"
    return "range" if first != last else _precision_in_a_year(cleaned)


def _precision_in_a_year(cleaned: str) -> Precision:
    """`day` or `month` where exactly one is named, otherwise `year`."""
    found = [match.groupdict() for form in _CALENDAR for match in form.finditer(cleaned)]
    months = {_month(one["month"]) for one in found}
    # `may` is a verb as well, so it only counts beside a year.
    named = {name[:3] for name in _ANY_MONTH_NAME.findall(cleaned)} - {"may"}
    if len(months) != 1 or len(named | {month for month in months if month.isalpha()}) > 1:
        return "year"
    days = {int(one["day"]) for one in found if one.get("day")}
    several = any(one.get("last_day") for one in found) or len(days) > 1
    return "day" if days and not several else "month"


def _month(written: str) -> str:
    """A month so that the same one compares equal: `jun` of June and Jun., `6` of 06."""
    return written[:3] if written[0].isalpha() else str(int(written))
