"""Are two pictures copies of one? They are laid over each other and compared piece by piece.

Belongs here: grey pictures as arrays in, a score for each pair out. Which pairs are worth comparing does not.

A copy may be cropped, mirrored, turned by a few degrees, toned, framed, captioned and recompressed. So for each pair
the best of a fixed set of cut-outs says about where one lies in the other (two multiplications of matrices); from
there an affine map is refined by Gauss-Newton steps on the grey levels, as in Baker and Matthews, "Lucas-Kanade 20
Years On" (2004), with the mean of both pictures' gradients (Benhimane and Malis, 2004); then the correlation of
small blocks counts, since light, contrast and what is written over a part do not change that of the others.
"""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

#: Raise it when the same two pictures would get another score.
ALIGNMENT_VERSION = "2"
#: Side of the squares that pictures are squeezed to before they are compared.
SIDE = 64

Grey = npt.NDArray[np.uint8]

# Cut-outs: these shares of a side, at offsets of about a twelfth of it, each seen in so many pixels a side.
_SHARES = (1.0, 0.92, 0.85, 0.78, 0.7)
_SEEN = 16
# What is around a pixel, in pixels; and the contrast, of the whole picture's, that counts as noise.
_BLUR = 6.0
_FLOOR = 0.15
_COARSE_STEPS, _FINE_STEPS = (32, 8), (64, 8)
# What the coarse steps have to reach for the fine ones, which take four times as long: copies of six kinds (of 120
# photographs; captions and crops among them) reached 0.76 there, 97 of 100 pairs of strangers that look alike at most
# 0.62.
_HALFWAY = 0.66
_DAMPING = 1e-3
# Grey levels, in standard deviations of the picture, from which on a difference counts less and less.
_ROBUST = 0.7
_BLOCK = 8
# Smallest eigenvalue of a block's structure tensor (squared normalised levels a pixel) that says something: horizons
# and the edges of slide mounts lie over each other in many a pair of strangers.
_CORNERS = 0.005
# Share of a picture's blocks, from its worst up, that writing and marks may have changed.
_IGNORED = 0.15
# A whole correlates by so much more than its blocks do.
_WHOLE_MARGIN = 0.05
# Blocks that have to say something, of 64.
_BLOCKS_NEEDED = 16


class _Start(NamedTuple):
    """Where the search begins, for each pair: which picture holds the other, mirrored or not, and where."""

    correlation: torch.Tensor
    swapped: torch.Tensor
    mirrored: torch.Tensor
    map: torch.Tensor


@torch.no_grad()
def copy_scores(
    pictures: Grey, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], coarse: float
) -> npt.NDArray[np.float32]:
    """How well the pictures of each pair lie over each other: float32 [pairs], from -1 to 0.95 for equal ones.

    ``pictures`` is uint8 [n, SIDE, SIDE]; ``first`` and ``second`` are indices into it. A pair whose best cut-out
    correlates less than ``coarse``, or that is little alike after the first steps, is not looked at further and gets at
    most ``coarse`` as its score.
    """
    levels = _normalised(torch.from_numpy(pictures).float())
    windows, whole = _windows(levels)
    one, other = torch.from_numpy(first), torch.from_numpy(second)
    start = _best_start(windows, whole, one, other)
    scores = start.correlation.clamp(max=coarse)
    near = torch.nonzero(start.correlation >= coarse).flatten()
    if len(near):
        swapped = start.swapped[near]
        inner = torch.where(swapped, one[near], other[near])
        outer = torch.where(swapped, other[near], one[near])
        template = levels[inner]
        template = torch.where(start.mirrored[near, None, None, None], template.flip(3), template)
        scores[near] = torch.maximum(scores[near], _refined_scores(template, levels[outer], start.map[near]))
    return scores.numpy()


def _refined_scores(template: torch.Tensor, image: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """[pairs]: how well both agree under the best map near ``start``; -1 for what is little alike halfway."""
    scores = torch.full((len(template),), -1.0)
    maps = _refined(template, image, start, *_COARSE_STEPS)
    # A wide caption may draw the refined map away from where the search began.
    halfway = torch.maximum(_alike(template, image, start), _alike(template, image, maps))
    left = torch.nonzero(halfway >= _HALFWAY).flatten()
    if len(left):
        template, image = template[left], image[left]
        found = (start[left], _refined(template, image, maps[left], *_FINE_STEPS))
        scores[left] = torch.stack([_agreement(template, image, one) for one in found]).amax(dim=0)
    return scores


def _alike(template: torch.Tensor, image: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """[pairs]: the correlation of both at the size of the coarse steps, with or without a strip along an edge."""
    side = _COARSE_STEPS[0]
    small, large = (F.interpolate(one, (side, side), mode="area") for one in (template, image))
    seen, inside = _seen(large, torch.ones_like(large), maps)
    strips = F.interpolate(_strips_left_out()[:, None], (side, side), mode="area")[:, 0]
    return torch.stack([_correlation(small, seen, inside * kept) for kept in strips]).amax(dim=0)


def _normalised(levels: torch.Tensor) -> torch.Tensor:
    """[n, 1, SIDE, SIDE]: how far each pixel is from what is around it, in that surrounding's standard deviations.

    So neither a bright sky, which thousands share, nor a white caption decides what pictures have in common.
    """
    centred = levels[:, None] - levels.mean(dim=(1, 2))[:, None, None, None]
    centred = centred / centred.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    detail = centred - _blurred(centred)
    return detail / (_blurred(detail.square()).sqrt() + _FLOOR)


@functools.cache
def _blur() -> torch.Tensor:
    """[SIDE, SIDE]: a Gaussian blur along one side, edges repeated beyond them, as a matrix."""
    reach = round(3 * _BLUR)
    weights = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * _BLUR**2))
    lines = F.pad(torch.eye(SIDE)[:, None], (reach, reach), mode="replicate")
    return F.conv1d(lines, (weights / weights.sum())[None, None])[:, 0].T


def _blurred(levels: torch.Tensor) -> torch.Tensor:
    return _blur() @ levels @ _blur().T


@functools.cache
def _cuts() -> tuple[tuple[float, float], ...]:
    """(share, offset) of the cut-outs along one side."""
    cuts = []
    for share in _SHARES:
        places = 1 + round((1 - share) * 12)
        cuts += [(share, (1 - share) * place / max(1, places - 1)) for place in range(places)]
    return tuple(cuts)


@functools.cache
def _sampling() -> torch.Tensor:
    """[cuts, _SEEN, SIDE]: the mean levels of each cut-out's pixels from those of the picture, along one side."""
    edges = torch.arange(SIDE).float()
    rows = []
    for share, offset in _cuts():
        starts = (offset + share * torch.arange(_SEEN) / _SEEN) * SIDE
        ends = starts + share * SIDE / _SEEN
        covered = torch.minimum(ends[:, None], edges + 1) - torch.maximum(starts[:, None], edges)
        rows.append(covered.clamp(min=0) / (ends - starts)[:, None])
    return torch.stack(rows)


def _windows(levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Every cut-out [n, cuts * cuts, _SEEN²] over its spread, and each picture's whole [n, _SEEN²], a unit vector.

    The wholes have no mean, so the cut-outs' own do not matter where both are multiplied.
    """
    sampling = _sampling()
    cut = torch.einsum("ayi,nij,bxj->nabyx", sampling, levels[:, 0], sampling).flatten(3).flatten(1, 2)
    whole = F.normalize(cut[:, 0] - cut[:, 0].mean(dim=1, keepdim=True), dim=1)
    square, mean = torch.linalg.vecdot(cut, cut), cut.mean(dim=2)
    spread = (square - cut.shape[2] * mean.square()).clamp(min=1e-12).sqrt()
    return cut / spread[:, :, None], whole


def _best_start(windows: torch.Tensor, whole: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> _Start:
    """The cut-out of either picture that is most like the other one's whole, or like its mirror image."""
    flipped = whole.view(-1, _SEEN, _SEEN).flip(2).flatten(1)
    found = []
    for outer, inner in ((one, other), (other, one)):
        templates = torch.stack([whole[inner], flipped[inner]], dim=2)
        found.append(torch.bmm(windows[outer], templates).transpose(1, 2))
    correlations = torch.stack(found, dim=1).flatten(1)  # [pairs, outer x mirrored x cut-out]
    best, place = correlations.max(dim=1)
    count = windows.shape[1]
    cut = place % count
    cuts = torch.tensor(_cuts())
    vertical, horizontal = cuts[cut // len(cuts)], cuts[cut % len(cuts)]
    maps = torch.zeros(len(best), 2, 3)
    for row, of_side in ((0, horizontal), (1, vertical)):
        maps[:, row, row] = of_side[:, 0]
        maps[:, row, 2] = 2 * of_side[:, 1] + of_side[:, 0] - 1
    return _Start(best, place // (2 * count) == 1, place // count % 2 == 1, maps)


def _refined(template: torch.Tensor, image: torch.Tensor, maps: torch.Tensor, side: int, steps: int) -> torch.Tensor:
    """Maps [pairs, 2, 3] from the template's coordinates (-1..1) to the image's under which both agree best.

    So many Gauss-Newton steps on both pictures at ``side`` pixels.
    """
    small, large = (F.interpolate(one, (side, side), mode="area") for one in (template, image))
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 1, side, side], align_corners=False)[0].reshape(-1, 2)
    ones = torch.ones_like(small)
    for _ in range(steps):
        seen, inside = _seen(large, ones, maps)
        maps = _composed(maps, _gauss_newton(small, seen, inside, grid, side))
    return maps


def _seen(image: torch.Tensor, ones: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The image as the template's frame shows it, and where that lies inside the image (0..1)."""
    places = F.affine_grid(maps, list(image.shape), align_corners=False)
    return (
        F.grid_sample(image, places, padding_mode="border", align_corners=False),
        F.grid_sample(ones, places, padding_mode="zeros", align_corners=False),
    )


def _standardised(levels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    total = weights.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    centred = levels - (weights * levels).sum(dim=(1, 2, 3), keepdim=True) / total
    return centred / ((weights * centred**2).sum(dim=(1, 2, 3), keepdim=True) / total).sqrt().clamp(min=1e-3)


def _gradients(levels: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Change a unit of the coordinates -1..1 to the right and downwards; central differences."""
    padded = F.pad(levels, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) * side / 4
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) * side / 4
    return across.flatten(1), down.flatten(1)


def _gauss_newton(
    template: torch.Tensor, seen: torch.Tensor, inside: torch.Tensor, grid: torch.Tensor, side: int
) -> torch.Tensor:
    """The change [pairs, 2, 3] of the template's coordinates that brings it nearer to what is seen of the image."""
    template, seen = _standardised(template, inside), _standardised(seen, inside)
    difference = (template - seen).flatten(1)
    weights = inside.flatten(1) / (1 + (difference / _ROBUST).square())
    across, down = _gradients((template + seen) / 2, side)
    x, y = grid[:, 0], grid[:, 1]
    jacobian = torch.stack([across * x, across * y, across, down * x, down * y, down], dim=2)
    weighted = jacobian * weights[:, :, None]
    normal = weighted.transpose(1, 2) @ jacobian
    right = (weighted * difference[:, :, None]).sum(dim=1)
    damping = _DAMPING * normal.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-6)
    normal = normal + damping[:, None, None] * torch.eye(6)
    return torch.linalg.solve(normal, right).view(-1, 2, 3)


def _composed(maps: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """``maps`` after the template's coordinates moved by ``change``, which is kept small."""
    change = change.clamp(-0.15, 0.15)
    return torch.cat(
        [maps[:, :, :2] + maps[:, :, :2] @ change[:, :, :2], maps[:, :, 2:] + maps[:, :, :2] @ change[:, :, 2:]], dim=2
    )


def _agreement(template: torch.Tensor, image: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """How well both agree, with or without a strip along an edge, as a whole and block by block; -1 where too little.

    Both have to: a whole of few large shapes can be laid over many another, and so can small blocks with a line each.
    """
    seen, inside = _seen(image, torch.ones_like(image), maps)
    one, other = (_blocks(levels) for levels in (template, seen))
    covered = _blocks(inside)
    enough = covered.mean(dim=2) > 0.75
    one, other = (blocks - blocks.mean(dim=2, keepdim=True) for blocks in (one, other))
    spread, spread_other = (blocks.square().mean(dim=2).sqrt() for blocks in (one, other))
    correlation = (one * other).mean(dim=2) / (spread * spread_other).clamp(min=1e-6)
    # What one picture shows and the other does not is a difference; what neither shows is none.
    telling = enough & (torch.maximum(_corners(template), _corners(seen)) > _CORNERS)
    by_block = torch.stack([_score(correlation, telling & kept) for kept in _without_strips()]).amax(dim=0)
    as_whole = torch.stack([_correlation(template, seen, inside * kept) for kept in _strips_left_out()]).amax(dim=0)
    return torch.where(_plausible(maps), torch.minimum(by_block, as_whole - _WHOLE_MARGIN), -1.0)


def _correlation(one: torch.Tensor, other: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    product = weights * _standardised(one, weights) * _standardised(other, weights)
    return product.sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3)).clamp(min=1)


def _score(correlation: torch.Tensor, telling: torch.Tensor) -> torch.Tensor:
    """Mean of the telling blocks' correlations less the worst ones; -1 where too few blocks are telling."""
    count = telling.sum(dim=1)
    ordered = torch.where(telling, correlation, 2.0).sort(dim=1).values
    place = torch.arange(ordered.shape[1])
    counted = (place >= (count * _IGNORED).floor()[:, None]) & (place < count[:, None])
    score = (ordered * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
    return torch.where(count >= _BLOCKS_NEEDED, score, -1.0)


@functools.cache
def _without_strips() -> torch.Tensor:
    """[strips, blocks]: all blocks, and all but those of a strip along one edge, where a caption may be."""
    side = SIDE // _BLOCK
    kept = [torch.ones(side, side, dtype=torch.bool)]
    for rows, columns in ((slice(-1, None), slice(None)), (slice(-2, None), slice(None)), (slice(2), slice(None))):
        for one in (lambda mask: mask, lambda mask: mask.T):
            strip = torch.ones(side, side, dtype=torch.bool)
            one(strip)[rows, columns] = False
            kept.append(strip)
    return torch.stack(kept).flatten(1)


@functools.cache
def _strips_left_out() -> torch.Tensor:
    """The same pixel by pixel: [strips, SIDE, SIDE] of 0 and 1."""
    kept = _without_strips().view(-1, SIDE // _BLOCK, SIDE // _BLOCK).float()
    return kept.repeat_interleave(_BLOCK, dim=1).repeat_interleave(_BLOCK, dim=2)


def _corners(levels: torch.Tensor) -> torch.Tensor:
    """[pairs, blocks]: how much detail goes across every direction (Shi and Tomasi, "Good Features to Track", 1994)."""
    padded = F.pad(levels, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    xx, yy, xy = (_blocks(one * other).mean(dim=2) for one, other in ((across, across), (down, down), (across, down)))
    return (xx + yy) / 2 - ((xx - yy).square() / 4 + xy.square()).sqrt()


def _plausible(maps: torch.Tensor) -> torch.Tensor:
    """Whether a map is one that scans and crops have: sizes within a half, turned or sheared by a few degrees."""
    straight = torch.stack([maps[:, 0, 0], maps[:, 1, 1]], dim=1)
    turned = torch.stack([maps[:, 0, 1], maps[:, 1, 0]], dim=1).abs()
    return ((straight > 0.5) & (straight < 1.5)).all(dim=1) & (turned < 0.1).all(dim=1)


def _blocks(levels: torch.Tensor) -> torch.Tensor:
    """[pairs, blocks, pixels of a block]."""
    return F.unfold(levels, _BLOCK, stride=_BLOCK).transpose(1, 2)
