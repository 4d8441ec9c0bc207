"""A head in T1 grey: scalp, skull, cortex with its folds, ventricles, deep nuclei, cerebellum, eyes.

Coordinates are millimetres: x to the patient's left, y to the back, z upwards from the level of the
orbits. Drawn from formulas and seeded noise.
"""

import numpy as np

from .shapes import ellipse, halve, mask, noise, paint

SIZE, PITCH = 256, 0.9
SLICES, SPACING = 12, 7.0
FIRST_Z = 5.0


def slices():
    """Returns the stored values of each slice, from below upwards."""
    n = SIZE * 2
    axis = (np.arange(n) + 0.5) * PITCH / 2 - SIZE * PITCH / 2
    x, y = axis[None, :], axis[:, None]
    # The zero lines of the first field wind like the furrows of the cortex.
    furrows = noise(5, (SLICES * 2, SIZE, SIZE), (1.6, 4.4, 4.4))
    warp = noise(6, (SLICES * 2, SIZE, SIZE), (2.0, 9, 9))
    coil = 1 + 0.10 * np.clip(noise(8, (SIZE, SIZE), (60, 60)), -2, 2) * 0.5
    out = []
    for k in range(SLICES):
        z = FIRST_Z + k * SPACING
        fold = np.kron(furrows[2 * k], np.ones((2, 2)))
        bend = np.kron(warp[2 * k], np.ones((2, 2)))
        image = halve(one(x, y, z, fold, bend)) * coil
        grain = [noise([40, k, i], (SIZE, SIZE), (0.55, 0.55)) * 11 for i in range(2)]
        image = np.hypot(image + grain[0], grain[1])
        out.append(np.clip(image, 0, 4095).astype("<u2"))
    return out


def one(x, y, z, fold, bend):
    """One slice at double resolution."""
    image = np.zeros(np.broadcast(x, y).shape)
    top = 96.0
    rise = np.sqrt(np.clip(1 - (max(0.0, z - 8) / top) ** 2.2, 0.02, 1))
    low = np.interp(z, [-10, 15], [0.93, 1.0])
    a, b = 72 * rise * low, 92 * rise * np.interp(z, [-10, 15], [0.96, 1.0])
    head = ellipse(x, y, 0, 0, a + 9, b + 9, power=2.15)
    paint(image, mask(head, 1.2), 560)
    if z < 22:
        face(image, x, y, z)
    paint(image, mask(head - 5.5, 1.2), 60)
    paint(image, mask(head - 7.2, 1.2) * mask(head * -1 + 9.0, 1.0), 210)
    brain = ellipse(x, y, 0, 1, a, b, power=2.15) + bend * 0.4
    paint(image, mask(brain + 1.5, 1.2), 95)
    cerebrum(image, x, y, z, brain, fold, bend)
    if z < 24:
        hindbrain(image, x, y, z, brain, bend)
    if z < 16:
        orbits(image, x, y, z, head)
    return image


def cerebrum(image, x, y, z, brain, fold, bend):
    """Grey and white matter, the furrows, and what lies deep in the white matter."""
    gap = np.abs(x + bend * 1.0) - np.interp(np.abs(y), [0, 35, 60, 95], [0.2, 0.5, 1.3, 1.8])
    inside = np.minimum(brain, gap + 8 * mask(38 - np.abs(y + 4), 8) * mask(50 - z, 6))
    sylvian = np.full_like(brain, -20.0)
    if 6 < z < 44:
        for s in (-1, 1):
            line = np.abs(y + 12 - 0.32 * (np.abs(x) - 45) - 2 * bend) - 1.6
            sylvian = np.maximum(sylvian, np.minimum(-line, np.abs(x) - 33) * (x * s > 0) - 20 * (x * s <= 0))
    depth = np.minimum(brain, np.abs(x) * 0.9 + 2.5 * np.maximum(0, 42 - np.abs(y)))
    reach = np.clip((27 - depth) / 12, 0, 1)
    furrow = np.abs(fold) / (0.62 * reach + 1e-3)  # 0 in the furrow, 1 at the edge of its bank.
    grey = np.minimum(np.minimum(inside - 4.4, (furrow - 1.0) * 4 * np.where(reach > 0.02, 1, 50)), -sylvian - 3.4)
    paint(image, mask(inside, 1.0), 372)
    paint(image, mask(grey, 1.6) * mask(inside, 1.0), 610)
    water = np.maximum((0.17 - furrow) * 6, sylvian + 1.2) * np.where((reach > 0.02) | (sylvian > -3), 1, 50)
    paint(image, mask(water, 1.0) * mask(inside + 2), 110)
    if z > 64:
        return
    shrink = np.clip((66 - z) / 26, 0.05, 1) ** 0.5
    if 8 < z < 38:
        for s in (-1, 1):
            paint(image, mask(ellipse(x, y, s * 12, 12, 9.5, 16, s * 0.28), 2), 455)
            paint(image, mask(ellipse(x, y, s * 26, -4, 7, 18, s * -0.22), 2), 440)
            paint(image, mask(ellipse(x, y, s * 13, -22, 5.5, 11, s * 0.3), 2), 430)
    if 6 < z:
        for s in (-1, 1):
            if z < 40:
                horn = ellipse(x, y, s * 9, -26, 4.2, 13, s * 0.32)
                tail = ellipse(x, y, s * 25, 36, 5, 16, s * -0.35)
                paint(image, mask(np.maximum(horn, tail)), 100)
            else:
                body = ellipse(x, y, s * (12 + 0.004 * (y - 6) ** 2), 2, 5.5 * shrink, 36 * shrink, s * 0.05)
                paint(image, mask(body), 100)
        if z < 30:
            paint(image, mask(ellipse(x, y, 0, 8, 1.8, 15)), 105)
        if 20 < z < 52:
            paint(image, mask(ellipse(x, y, 0, -34, 9, 3.2), 1.5), 640)
            paint(image, mask(ellipse(x, y, 0, 34, 11, 3.6), 1.5), 640)


def hindbrain(image, x, y, z, brain, bend):
    """Brain stem and cerebellum with its leaves, for the lowest slices."""
    size = np.clip((24 - z) / 16, 0.2, 1) ** 0.5
    shell = ellipse(x, y, 0, 54, 52 * size, 31 * size, power=2.2)
    shell = np.minimum(shell, brain)
    paint(image, mask(shell + 2, 1.2), 100)
    leaf = np.sin(ellipse(x, y, 0, 38, 46, 30) * 1.25 + bend * 0.7)
    paint(image, mask(shell), 425)
    paint(image, mask(shell - 2, 2) * mask(leaf * 2, 1.5), 500)
    for s in (-1, 1):
        paint(image, mask(ellipse(x, y, s * 20, 52, 15 * size, 10 * size, s * 0.3), 4), 600)
    paint(image, mask(ellipse(x, y, 0, 34, 5, 3.4)), 110)
    paint(image, mask(ellipse(x, y, 0, 16, 19, 14, power=2.4) + 1.5), 110)
    paint(image, mask(ellipse(x, y, 0, 16, 17, 13, power=2.3)), 575)


def face(image, x, y, z):
    """Muscle and bone in front and at the sides of the lowest slices."""
    paint(image, mask(ellipse(x, y, 0, -92, 24, 16), 2), 480)
    for s in (-1, 1):
        paint(image, mask(ellipse(x, y, s * 72, -34, 6, 22, s * 0.15), 2), 330)


def orbits(image, x, y, z, head):
    """Eyes in their fat, the air of the nose between them, and the skull base behind."""
    open_ = np.clip((16 - z) / 14, 0, 1) ** 0.5
    for s in (-1, 1):
        cone = ellipse(x, y, s * 32, -66, 20 * open_, 25 * open_, s * -0.35)
        paint(image, mask(np.minimum(cone + 2, head - 2)), 90)
        paint(image, mask(np.minimum(cone, head - 1)), 640)
        paint(image, mask(ellipse(x, y, s * 34, -80, 12.5 * open_, 12.5 * open_)), 150)
        paint(image, mask(ellipse(x, y, s * 34, -90, 5 * open_, 2.4 * open_)), 420)
        for side in (-1, 1):
            paint(image, mask(ellipse(x, y, s * 30 + side * 9 * open_, -60, 2, 15 * open_, s * -0.35 + side * 0.25)), 350)
        paint(image, mask(ellipse(x, y, s * 24, -54, 2, 14 * open_, s * -0.45)), 420)
    paint(image, mask(ellipse(x, y, 0, -70, 10 * open_, 24 * open_)), 40)
    paint(image, mask(1.2 - np.abs(x), 1) * mask(ellipse(x, y, 0, -70, 10 * open_, 24 * open_)), 380)
