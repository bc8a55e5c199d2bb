"""How much a black-and-white film sees of red, green and blue.

Belongs here: one table of weights of linear light, for the grey of pairs and for augmentation; plain
numbers, so that anything may import it. Each row sums to one: grey things stay as they are.
"""

#: Red, green and blue shares.
Weights = tuple[float, float, float]

#: The eye: the row of Y in the matrix from linear sRGB to XYZ (IEC 61966-2-1).
EYE: Weights = (0.2126729, 0.7151522, 0.0721750)
#: Kodak Tri-X, the press film of those years; darktable's channel mixer, `src/iop/channelmixer.c`.
PANCHROMATIC: Weights = (0.25, 0.35, 0.40)
#: Blind to red: green and blue alike, as Luo et al. model it ("Time-Travel Rephotography", 2021, `models/degrade.py`).
ORTHOCHROMATIC: Weights = (0.0, 0.5, 0.5)
# Round numbers after descriptions, not measurements: panchromatic film behind a yellow and behind a red filter,
# and a plate that sees blue only.
BEHIND_YELLOW: Weights = (0.44, 0.48, 0.08)
BEHIND_RED: Weights = (0.82, 0.16, 0.02)
BLUE_SENSITIVE: Weights = (0.01, 0.12, 0.87)
