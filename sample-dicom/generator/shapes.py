"""Soft-edged shapes and noise on a pixel grid, the brushes of every phantom.

All lengths are millimetres. A shape is a signed distance: positive inside, negative outside, near
enough to millimetres at the edge for an edge softened over a pixel. Nothing here knows of DICOM.
"""

import numpy as np


def mask(distance, blur=0.7):
    """Turns a signed distance into coverage 0..1, the edge blurred over `blur` millimetres."""
    return np.clip(distance / blur + 0.5, 0.0, 1.0)


def paint(image, coverage, value):
    """Lays `value` over `image` (in place) where `coverage` is 1, mixing at the edge."""
    image += coverage * (value - image)


def ellipse(x, y, cx, cy, rx, ry, turn=0.0, power=2.0):
    """Distance to an ellipse (or superellipse) turned by `turn` radians, measured along the ray
    from its centre."""
    u, v = x - cx, y - cy
    if turn:
        c, s = np.cos(turn), np.sin(turn)
        u, v = u * c + v * s, v * c - u * s
    if power == 2.0:
        r = np.hypot(u / rx, v / ry)
    else:
        r = (np.abs(u / rx) ** power + np.abs(v / ry) ** power) ** (1.0 / power)
    r = np.maximum(r, 1e-3)
    return np.hypot(u, v) * (1.0 / r - 1.0) + (r < 2e-3) * min(rx, ry)


def tube(x, y, z, points, radii):
    """Distance to a chain of round-ended cones through `points` (x, y, z), in the plane at `z`;
    None where the chain does not come near the plane."""
    best = None
    for (p, q), (r0, r1) in zip(zip(points, points[1:]), zip(radii, radii[1:])):
        reach = max(r0, r1) + 1.5
        if z < min(p[2], q[2]) - reach or z > max(p[2], q[2]) + reach:
            continue
        d = [q[i] - p[i] for i in range(3)]
        length = d[0] ** 2 + d[1] ** 2 + d[2] ** 2
        t = ((x - p[0]) * d[0] + (y - p[1]) * d[1] + (z - p[2]) * d[2]) / length
        t = np.clip(t, 0.0, 1.0)
        away = np.sqrt((x - p[0] - t * d[0]) ** 2 + (y - p[1] - t * d[1]) ** 2 + (z - p[2] - t * d[2]) ** 2)
        inside = r0 + (r1 - r0) * t - away
        best = inside if best is None else np.maximum(best, inside)
    return best


def smooth(array, sigma):
    """Gaussian blur by FFT (periodic at the borders); `sigma` in samples, one per axis."""
    spectrum = np.fft.rfftn(array)
    for axis, s in enumerate(sigma):
        n = array.shape[axis]
        f = np.fft.rfftfreq(n) if axis == array.ndim - 1 else np.fft.fftfreq(n)
        shape = [1] * array.ndim
        shape[axis] = len(f)
        spectrum *= np.exp(-2.0 * (np.pi * s * f) ** 2).reshape(shape)
    return np.fft.irfftn(spectrum, s=array.shape, axes=range(array.ndim))


def noise(seed, shape, sigma):
    """Blurred random field of mean 0 and deviation 1."""
    field = smooth(np.random.default_rng(seed).standard_normal(shape), sigma)
    return (field - field.mean()) / field.std()


def halve(image):
    """Averages two by two pixels: draws at double size, keeps at single, for clean edges."""
    return (image[0::2, 0::2] + image[1::2, 0::2] + image[0::2, 1::2] + image[1::2, 1::2]) / 4.0
