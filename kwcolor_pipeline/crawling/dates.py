"""Dates as archives write them, read as a range of years.

Belongs here: text to years. Which partition a range belongs to is the manifest's affair.
"""

import re

#: Longer texts are prose and not dates; what lies beyond is not read.
_LONGEST = 200
_MARKS = str.maketrans("", "", "[]?<>()")
_YEAR = r"(?:1[5-9]|20)[0-9]{2}"
_SHORT_RANGE = re.compile(rf"(?<![0-9])({_YEAR})\s*[-–/]\s*([0-9]{{2}})(?![0-9-])")
_DECADE = re.compile(r"(?<![0-9])((?:1[5-9]|20)[0-9])(?:-(?![0-9])|0'?s\b)")
_CENTURY = re.compile(r"(?<![0-9])(1[5-9]|20)--(?![0-9])")
_SINGLE = re.compile(rf"(?<![0-9])({_YEAR})(?![0-9])")


def year_range(text: str | None) -> tuple[int, int] | None:
    """First and last year that a date may mean (equal for a single year); None where it names none.

    Reads what library catalogues write: ``1943``, ``194[3] Apr.?``, ``[between 1940 and 1946]``,
    ``[1942 or 1943]``, ``1939-44``, ``1940s``, ``[194-?]``, ``19--``, ``1943-06-01``. Of several
    years the earliest and the latest count. Years from 1500 to 2099 are recognized.
    """
    cleaned = (text or "")[:_LONGEST].translate(_MARKS)
    years = [int(year) for year in _SINGLE.findall(cleaned)]
    years += [last for year, short in _SHORT_RANGE.findall(cleaned) if (last := _end_of_range(int(year), int(short)))]
    years += [int(start) * 10 + add for start in _DECADE.findall(cleaned) for add in (0, 9)]
    years += [int(start) * 100 + add for start in _CENTURY.findall(cleaned) for add in (0, 99)]
    return (min(years), max(years)) if years else None


def _end_of_range(first: int, short: int) -> int | None:
    """The year that ``44`` means in ``1939-44``; None where the two digits may be a month."""
    return first - first % 100 + short if short > max(12, first % 100) else None
