"""A volume and its k-space in numbers that artefacts change, whatever its scale, orientation and phase encoding.

Noise is a floor under k-space, ringing its missing rim, a spike a point that stands out of its shell, ghosting a comb
across it, motion a break between neighbouring lines. Nothing is trained here. k-space is that of the whole volume, by a
unitary Fourier transform of the image with mean 0 and standard deviation 1, so that its mean power is 1 for any volume.
"""

from __future__ import annotations

import itertools

import torch

Tensor = torch.Tensor

FINE_SHELLS = 40  # to tell what a place in k-space holds beside its peers
SHELLS = 16  # by distance from the centre as a share of that of the corner
SPHERES = 24  # by distance in samples, as scanners' and MONAI's filters count
CENTRE = 0.12  # of that distance: closer to the centre is anatomy alone
COMBS = (2, 3, 4)
LAGS = (1, 2, 3, 4, 5, 6)
FEWEST = 12  # voxels along each axis
_FLOOR = 1e-3
_TINY = 1e-9


def statistics(volume: Tensor) -> Tensor:
    """The numbers of a volume (W, H, D), float; each axis counts alike. A constant volume has those of zeros.

    Raises:
        ValueError: it has fewer than ``FEWEST`` voxels along an axis.
    """
    if volume.ndim != 3 or min(volume.shape) < FEWEST:
        raise ValueError(
            f"quality needs a volume of {FEWEST} voxels or more along each axis, not {tuple(volume.shape)}"
        )
    image = volume.float() - volume.float().mean()
    image = image / image.std().clip(min=1e-6)
    spectrum = torch.fft.fftshift(torch.fft.fftn(image, norm="ortho"))
    power = (spectrum.abs() + _FLOOR).log()
    whole, beside = _shells(power)
    axes = torch.stack([_axis(image, spectrum, beside, axis) for axis in range(3)])
    ordered = axes.sort(dim=0).values
    apart = ordered[2] - ordered[1]
    found = torch.cat([whole, ordered[2], ordered[0], ordered[1], apart, _values(image)])
    return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


def _shells(power: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the logarithm of k-space by distance from its centre, and what each place has beyond its shell."""
    indices = [torch.arange(n) - n // 2 for n in power.shape]
    shares = torch.meshgrid([2 * index.abs() / n for index, n in zip(indices, power.shape, strict=True)], indexing="ij")
    distance = torch.stack(shares).square().sum(0).sqrt() / 3**0.5
    samples = torch.meshgrid([index.float() for index in indices], indexing="ij")
    radius = torch.stack(samples).square().sum(0).sqrt() / (max(power.shape) / 2 * 3**0.5)
    _, beside = _by(power, distance, FINE_SHELLS)
    level, _ = _by(power, distance, SHELLS)
    spread, _ = _by(beside.square(), distance, SHELLS)
    sphere, _ = _by(power, radius, SPHERES)
    outer = beside[distance > CENTRE]
    highest = outer.topk(20).values[[0, 1, 2, 3, 5, 9, 19]]
    lowest = -(-outer).topk(20).values[[0, 9, 19]]
    shares_of = outer[::3].quantile(torch.tensor([0.01, 0.05, 0.25, 0.75, 0.95, 0.99]))
    return torch.cat([level, spread, sphere, sphere.diff(), highest, lowest, shares_of]), beside


def _by(values: Tensor, distance: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Mean of the values by bins of distance (0 to 1), of an empty one that before it; and each value less its mean."""
    index = (distance * bins).long().clip(max=bins - 1).flatten()
    count = torch.zeros(bins).index_add_(0, index, torch.ones(index.numel()))
    mean = torch.zeros(bins).index_add_(0, index, values.flatten()) / count.clip(min=1)
    for empty in torch.nonzero(count == 0).flatten().tolist():
        mean[empty] = mean[empty - 1] if empty else 0.0
    return mean, values - mean[index].reshape(values.shape)


def _axis(image: Tensor, spectrum: Tensor, beside: Tensor, axis: int) -> Tensor:
    """What would show if the lines of k-space along this axis had been read one after another."""
    lines = beside.movedim(axis, 0).flatten(1).mean(1)
    count = len(lines)
    middle = slice(count // 4, count - count // 4)
    smooth = torch.nn.functional.pad(lines[None, None], (2, 2), mode="reflect")[0, 0].unfold(0, 5, 1).median(-1).values
    rest = lines - smooth
    rest = rest - rest.mean()
    at = torch.arange(count)
    combs = [(rest * torch.exp(-2j * torch.pi * at / every)).sum().abs() / count for every in COMBS]
    steps = lines.diff().abs()
    coherence = _coherence(image, axis)
    inner = coherence[middle]
    energy = spectrum.abs().square().movedim(axis, 0).flatten(1).sum(1).clip(min=_TINY).log()
    breaks = energy[2:] - 2 * energy[1:-1] + energy[:-2]
    found = [*combs, rest.std(), steps.max(), steps[middle].max(), lines.std()]
    found += [coherence.min(), inner.min(), coherence.mean(), inner.mean(), coherence.std(), coherence.quantile(0.1)]
    found += [breaks.abs().max(), breaks.std(), breaks[middle].abs().max(), *_differences(image, axis)]
    return torch.stack(found)


def _coherence(image: Tensor, axis: int) -> Tensor:
    """How alike neighbouring lines are, 0 to 1, where the image fades out at its ends, so that they should be."""
    count = image.shape[axis]
    window = torch.hann_window(count + 2, periodic=False)[1:-1]
    shape = [1, 1, 1]
    shape[axis] = count
    faded = torch.fft.fftshift(torch.fft.fftn(image * window.reshape(shape), norm="ortho"))
    lines = faded.movedim(axis, 0).flatten(1)
    energy = lines.abs().square().sum(1)
    common = (lines[1:] * lines[:-1].conj()).sum(1).abs()
    alike: Tensor = common / (energy[1:] * energy[:-1]).sqrt().clip(min=_TINY)
    return alike


def _differences(image: Tensor, axis: int) -> list[Tensor]:
    """First and second differences along an axis, and how the second ones repeat, as ringing and ghosts do."""
    first = image.diff(dim=axis)
    second = first.diff(dim=axis).movedim(axis, 0).flatten(1)
    energy = second.square().mean().clip(min=_TINY)
    repeats = [(second[lag:] * second[:-lag]).mean() / energy for lag in LAGS]
    peaked = first.pow(4).mean() / first.square().mean().square().clip(min=_TINY)
    return [first.abs().mean(), first.std(), second.abs().mean(), peaked, *repeats]


def _values(image: Tensor) -> Tensor:
    """The distribution of the values, and what differs between the eight voxels of a cube: mostly noise."""
    corner = torch.zeros(tuple(n - 1 for n in image.shape))
    for offsets in itertools.product((0, 1), repeat=3):
        part = image[tuple(slice(o, o + n - 1) for o, n in zip(offsets, image.shape, strict=True))]
        corner = corner + part * (-1) ** sum(offsets)
    dark = (image < image.min() + 0.05).float().mean()
    numbers = torch.stack([corner.abs().median(), corner.std(), image.pow(3).mean(), image.pow(4).mean(), dark])
    return torch.cat([numbers, image.flatten().quantile(torch.tensor([0.01, 0.1, 0.5, 0.9, 0.99]))])
