"""DeOldify's weight files as they were published: names, hashes, sizes.

Belongs here: facts about files, without what reads them (`deoldify_weights`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A weight file: its name, the sha256 and the number of its bytes."""

    file: str
    sha256: str
    size: int


# DeOldify's author publishes no hashes. Several independent projects state these, and the sizes are those of the
# networks' 378 and 754 tensors and their names.
ARTISTIC = Published(
    "ColorizeArtistic_gen.pth", "3f750246fa220529323b85a8905f9b49c0e5d427099185334d048fb5b5e22477", 255_144_681
)
STABLE = Published(
    "ColorizeStable_gen.pth", "ca9cd7f43fb8b222c9a70f7b292e305a000694b0ff9d2ae4a6747b1a2e1ee5af", 874_066_230
)
