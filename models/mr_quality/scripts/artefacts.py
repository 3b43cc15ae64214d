"""Artefacts of MR on images that have none: noise, ringing and spikes by MONAI; motion and ghosting in k-space here.

Images are (1, W, H, D) float tensors of non-negative magnitudes; what comes back is of the same shape. The ranges below
are what the figures of the README hold for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Affine, GibbsNoise, KSpaceSpikeNoise, RandBiasField, RandRicianNoise
from monai.utils import convert_to_tensor

CLASSES = ("clean", "motion", "ghosting", "noise", "gibbs", "spikes")
DEGREES, VOXELS = (2.5, 10.0), (1.5, 6.0)  # motion, about and along each axis
WEAKENED = (0.3, 0.8)  # ghosting: share that is missing of every second to fourth line
NOISE = (0.06, 0.3)  # standard deviation as a share of the brightest tissue (99th percentile)
ALPHA = (0.45, 0.8)  # ringing: MONAI's parameter
BELOW_CENTRE = (0.7, 3.7)  # spikes: how much less than the centre of k-space they hold, as a natural logarithm

Random = np.random.RandomState


def moved(image: torch.Tensor, random: Random) -> torch.Tensor:
    """The patient lay in two to four poses while the lines of k-space along one axis were read.

    The pose in which the centre was read is that of the image. The first change lies within the middle half of the
    lines, so that it touches what counts.
    """
    axis = int(random.randint(1, 4))
    length = image.shape[axis]
    within = np.setdiff1d(np.arange(length // 4, length - length // 4), [length // 2, length // 2 + 1])
    others = random.choice(np.arange(2, length - 1), size=random.randint(0, 3), replace=False)
    changes = np.unique([random.choice(within), *others])
    pose_of_line = np.searchsorted(changes, np.arange(length), side="right")
    spectrum = _spectrum(image)
    for pose in set(range(len(changes) + 1)) - {int(pose_of_line[length // 2])}:
        angles = np.deg2rad(random.uniform(*DEGREES, 3) * random.choice([-1, 1], 3))
        shifts = random.uniform(*VOXELS, 3) * random.choice([-1, 1], 3)
        other, _ = Affine(rotate_params=list(angles), translate_params=list(shifts), padding_mode="border")(image)
        lines = torch.as_tensor(np.flatnonzero(pose_of_line == pose))
        spectrum.index_copy_(axis, lines, _spectrum(plain(other)).index_select(axis, lines))
    return _image(spectrum)


def ghosted(image: torch.Tensor, random: Random) -> torch.Tensor:
    """Every second to fourth line of k-space along one axis is weakened, but for the very centre."""
    axis = int(random.randint(1, 4))
    length = image.shape[axis]
    every = int(random.randint(2, 5))
    factors = np.ones(length)
    factors[int(random.randint(every)) :: every] = 1.0 - random.uniform(*WEAKENED)
    factors[length // 2] = 1.0
    shape = [1] * image.ndim
    shape[axis] = length
    return _image(_spectrum(image) * torch.as_tensor(factors, dtype=torch.float32).reshape(shape))


def noisy(image: torch.Tensor, random: Random) -> torch.Tensor:
    """Rician noise."""
    bright = float(torch.quantile(image, 0.99))
    noise = RandRicianNoise(prob=1.0, std=float(random.uniform(*NOISE) * bright), sample_std=False)
    noise.set_random_state(state=random)
    return plain(noise(image))


def ringing(image: torch.Tensor, random: Random) -> torch.Tensor:
    """K-space was read within a sphere around its centre alone."""
    return plain(GibbsNoise(alpha=float(random.uniform(*ALPHA)))(image)).clip(min=0)


def spiked(image: torch.Tensor, random: Random) -> torch.Tensor:
    """One to three points of k-space, away from its centre, are almost as strong as that."""
    size = np.asarray(image.shape[1:])
    places = []
    for _ in range(random.randint(1, 4)):
        offset = random.uniform(0.1, 0.45, 3) * size * random.choice([-1, 1], 3)
        places.append((0, *(int(n) for n in (size // 2 + offset).astype(int))))
    strength = float(_spectrum(image).abs().log().max()) - random.uniform(*BELOW_CENTRE)
    return plain(KSpaceSpikeNoise(loc=places, k_intensity=[strength] * len(places))(image)).clip(min=0)


ARTEFACTS: Mapping[str, Callable[[torch.Tensor, Random], torch.Tensor]] = {
    "motion": moved,
    "ghosting": ghosted,
    "noise": noisy,
    "gibbs": ringing,
    "spikes": spiked,
}


def spoilt(image: torch.Tensor, label: int, random: Random) -> torch.Tensor:
    """``image`` with the artefact of that class, drawn by ``random``; the image itself where the class is clean."""
    good = image - image.min()
    return ARTEFACTS[CLASSES[label]](good, random) if label else good


def varied(image: torch.Tensor, random: Random) -> torch.Tensor:
    """Another image that is as good: cut elsewhere, turned a little, of another contrast, bias field and matrix."""
    low = random.randint(0, 4, 3)
    high = [int(n - random.randint(0, 4)) for n in image.shape[1:]]
    cut = image[(slice(None), *(slice(int(a), b) for a, b in zip(low, high, strict=True)))] - image.min()
    if random.rand() < 0.4:
        angles = np.deg2rad(random.uniform(-12.0, 12.0, 3))
        scales = [float(scale) for scale in random.uniform(0.9, 1.1, 3)]
        turned, _ = Affine(rotate_params=list(angles), scale_params=scales, padding_mode="border")(cut)
        cut = plain(turned).clip(min=0)
    if random.rand() < 0.3:
        bias = RandBiasField(prob=1.0, degree=2, coeff_range=(0.0, 0.15))
        bias.set_random_state(state=random)
        cut = plain(bias(cut))
    if random.rand() < 0.5:
        largest = cut.max().clip(min=1e-6)
        cut = largest * (cut / largest) ** float(random.uniform(0.8, 1.25))
    return cut


def plain(image: Any) -> torch.Tensor:
    """The image as a float tensor without metadata."""
    tensor: torch.Tensor = convert_to_tensor(image, dtype=torch.float32, track_meta=False)
    return tensor


def _spectrum(image: torch.Tensor) -> torch.Tensor:
    spectrum: torch.Tensor = torch.fft.fftshift(torch.fft.fftn(image, dim=(1, 2, 3)), dim=(1, 2, 3))
    return spectrum


def _image(spectrum: torch.Tensor) -> torch.Tensor:
    image: torch.Tensor = torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(1, 2, 3)), dim=(1, 2, 3)).abs()
    return image
