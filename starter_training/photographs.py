"""What the starter's photographs have in common, wherever they are looked at."""

from typing import Any

#: Shortest side of a packed picture in pixels: what crops of 128 are cut from.
SIDE = 160


def is_kodachrome(row: dict[str, Any]) -> bool:
    """Whether a row of a manifest or of the pairs' index is one of the Library of Congress' colour slides."""
    return (row["landing_url"] or "").startswith("https://www.loc.gov/")
