"""A chest in Hounsfield units: the body behind the CT series and the radiograph.

Coordinates are millimetres: x to the patient's left, y to the back, z downwards from the plane of
the lung tops. `slice_hu` answers one plane at any resolution, so the CT cuts it and the radiograph
sums it. Invented from scratch: no person was measured.
"""

import numpy as np

from .shapes import ellipse, mask, paint, tube

NODULE = (-82.0, -22.0, 76.0)  # Right upper lobe: what the sample report describes.
NODULE_RADIUS = 7.5

OUTLINE_Z = [-120, -75, -52, -28, 0, 40, 100, 180, 260, 400]
OUTLINE_A = [58, 60, 78, 146, 168, 165, 160, 156, 153, 153]
OUTLINE_B = [60, 60, 66, 88, 102, 112, 120, 124, 125, 125]
CAVITY_Z = [-34, -28, -16, 0, 25, 60, 110, 180, 260, 400]
CAVITY_A = [6, 42, 64, 84, 103, 119, 131, 137, 136, 128]
CAVITY_B = [6, 28, 42, 55, 67, 80, 90, 96, 98, 96]
RIB_PITCH = 23.0
RIB_FALL = 118.0  # How far a rib sinks from the spine to its front end.


def cavity(x, y, z):
    """Distance to the inside of the rib cage."""
    return ellipse(x, y, 0, -3, np.interp(z, CAVITY_Z, CAVITY_A), np.interp(z, CAVITY_Z, CAVITY_B), power=2.25)


def diaphragm(x, y):
    """The height (z) of the diaphragm, right and left dome."""
    right = 186 + 46 * (((x + 72) / 66) ** 2 + ((y - 2) / 84) ** 2)
    left = 202 + 46 * (((x - 66) / 62) ** 2 + ((y - 6) / 84) ** 2)
    return right, left


def lungs(x, y, z):
    """Distance to the air-filled lung, both sides; the edges where surfaces meet are rounded."""
    half = np.interp(y, [-100, -70, -40, -5, 30, 60, 100], [6, 9, 19, 25, 23, 27, 40])
    half = half + np.clip((z - 60) / 12, 0, 5)
    right, left = diaphragm(x, y)
    k = 5.0
    walls = np.exp(-np.clip(cavity(x, y, z) - 2.5, -200, 200) / k) + np.exp(-np.clip(np.abs(x - 3) - half, -200, 200) / k)
    return np.minimum(-k * np.log(walls), (np.minimum(right, left) - z) * 0.75)


def vessels():
    """The vessel trees of both lungs, grown towards points spread through the lung: each point is
    joined to the nearest part of the tree by a curve that leaves its parent smoothly and tapers."""
    rng = np.random.default_rng(20250214)
    out = []
    for side, hilum in ((-1, (-36.0, 10.0, 122.0)), (1, (42.0, 12.0, 118.0))):
        at, radius, heading = [np.array(hilum)], [6.2], [np.array([side, 0.0, 0.0])]
        joined = 0
        while joined < 800:
            end = np.array([side * rng.uniform(30, 134), rng.uniform(-86, 92), rng.uniform(-10, 238)])
            if lungs(np.array([[end[0]]]), np.array([[end[1]]]), end[2])[0, 0] < 3:
                continue
            near = int(np.argmin(np.sum((np.array(at) - end) ** 2, axis=1) + (80.0 if joined > 8 else 0.0)))
            if joined <= 8:
                near = 0  # The first few are the lobar trunks.
            start, span = at[near], np.sqrt(np.sum((at[near] - end) ** 2))
            joined += 1
            if span < 4:
                continue
            bend = start + heading[near] * span * 0.35 + rng.normal(0, span * 0.06, 3)
            ts = np.linspace(0, 1, 7)[:, None]
            path = (1 - ts) ** 2 * start + 2 * ts * (1 - ts) * bend + ts**2 * end
            wide = radius[near] * (0.80 if joined <= 9 else 0.84)
            radii = [max(0.9, wide * (1 - 0.66 * t)) for t in ts[:, 0]]
            out.append((path.tolist(), radii))
            for k in range(2, 7):
                ahead = path[k] - path[k - 1]
                at.append(path[k])
                radius.append(radii[k])
                heading.append(ahead / np.sqrt(np.sum(ahead**2)))
    return out


TREES = vessels()


def bones(hu, x, y, z, body):
    """Ribs, spine, breastbone, collar bones and shoulder blades."""
    inner = cavity(x, y, z)
    around = np.arctan2(np.abs(x), y + 3)  # 0 at the spine, pi at the breastbone.
    run = (z + 14 - RIB_FALL * (around / np.pi) ** 1.15) / RIB_PITCH
    number = np.floor(run)
    across = (run - number - 0.5) * RIB_PITCH
    along = np.interp(number, [0, 6, 7, 9, 10, 11], [2.5, 2.5, 2.3, 2.1, 1.5, 1.2])
    present = (number >= 0) & (number <= 11) & (around > 0.22)
    r = np.hypot((inner + 4.2) / 4.2, across / 5.6)
    rib = mask((1 - r) * 4.2) * present
    bone = mask((along - around) * 60, 4)
    paint(hu, rib * (1 - bone) * (around < 2.85), 105)
    paint(hu, rib * bone, 640)
    paint(hu, mask((0.62 - r) * 4.2) * present * bone, 210)

    back = np.interp(z, CAVITY_Z, CAVITY_B) - 3
    vy = back - 22
    disc = ((z + 6) % 25.0) < 5.5
    body_d = ellipse(x, y, 0, vy, 17.5, 14.5, power=2.3)
    paint(hu, mask(body_d), 95 if disc else 560)
    if not disc:
        paint(hu, mask(body_d - 1.6), 215)
    ring = ellipse(x, y, 0, vy + 22, 13, 12)
    if ((z + 6) % 25.0) > 9:
        paint(hu, mask(ring), 520)
        for s in (-1, 1):
            paint(hu, mask(ellipse(x, y, s * 20, vy + 24, 15, 4.5, s * -0.35)), 420)
        paint(hu, mask(ellipse(x, y, 0, vy + 40, 3.4, 14)), 430)
    paint(hu, mask(ellipse(x, y, 0, vy + 22, 8.5, 8)), -10)
    paint(hu, mask(ellipse(x, y, 0, vy + 22, 6, 5)), 38)

    if 22 < z < 190:
        front = -3 - np.interp(z, CAVITY_Z, CAVITY_B) - 4.5
        st = ellipse(x, y, 0, front, np.interp(z, [22, 45, 120, 190], [27, 19, 17, 8]), 5.5, power=2.6)
        paint(hu, mask(st), 430)
        paint(hu, mask(st - 1.4), 170)
    for s in (-1, 1):
        d = tube(x, y, z, [(s * 14, -58, 20), (s * 60, -66, 2), (s * 105, -38, -14), (s * 142, -18, -12)], [9, 6, 5.5, 7])
        if d is not None:
            paint(hu, mask(d) * body, 620)
            paint(hu, mask(d - 2) * body, 260)
        if -20 < z < 118:
            size = np.sqrt(max(0.02, 1 - ((z - 42) / 78.0) ** 2))
            lean = s * (0.62 + 0.0012 * (z - 42))
            d = ellipse(x, y, s * (118 - 0.10 * (z - 42)), 58 + 0.12 * (z - 42), 40 * size, 3.6, -lean)
            paint(hu, mask(d) * body, 420)
            if z < 30:
                d = tube(x, y, z, [(s * 96, 74, 32), (s * 128, 48, 2), (s * 146, 12, -16)], [4, 5, 8])
                if d is not None:
                    paint(hu, mask(d) * body, 480)


def arms(hu, x, y, z, body):
    """Hanging upper arms, which a radiograph shows and a CT with raised arms does not."""
    for s in (-1, 1):
        d = tube(x, y, z, [(s * 158, 4, 4), (s * 169, 6, 60), (s * 190, 8, 460)], [23, 12, 11])
        if d is not None:
            paint(hu, mask(d) * body, 560)
            paint(hu, mask(d - 3) * body, 200)


def heart(hu, x, y, z, blood):
    """Heart muscle and its four chambers; `blood` is their density."""
    c, s = np.cos(0.62), np.sin(0.62)
    u, v = (x - 20) * c - (y + 30) * s, (x - 20) * s + (y + 30) * c
    w = z - 163 - 0.32 * u

    def blob(cu, cv, cw, ru, rv, rw):
        return (1 - np.sqrt(((u - cu) / ru) ** 2 + ((v - cv) / rv) ** 2 + ((w - cw) / rw) ** 2)) * min(ru, rv, rw)

    paint(hu, mask(blob(0, 0, 0, 69, 51, 60)), -75)
    paint(hu, mask(blob(0, 0, 0, 65, 46, 55)), 45 + 0.38 * (blood - 45))
    for chamber in ((20, 14, 4, 35, 17, 33), (8, -22, 8, 38, 14, 34), (-34, 18, -20, 22, 19, 24), (-44, -12, 0, 19, 22, 32)):
        paint(hu, mask(blob(*chamber), 2.0), blood - (chamber[1] < 0) * 0.18 * (blood - 45))


def lung_trees(hu, x, y, z, blood, lung):
    """The branching vessels inside both lungs."""
    for path, radii in TREES:
        if not min(p[2] for p in path) - 4 <= z <= max(p[2] for p in path) + 4:
            continue
        cols = np.searchsorted(x[0], [min(p[0] for p in path) - 5, max(p[0] for p in path) + 5])
        rows = np.searchsorted(y[:, 0], [min(p[1] for p in path) - 5, max(p[1] for p in path) + 5])
        box = slice(*rows), slice(*cols)
        d = tube(x[:, box[1]], y[box[0]], z, path, radii)
        if d is not None:
            paint(hu[box], mask(d, 1.0) * lung[box], 45 + 0.5 * (blood - 45))


def great_vessels(hu, x, y, z, blood):
    """Aorta, veins, pulmonary arteries, gullet and windpipe."""
    venous = 45 + 0.75 * (blood - 45)
    for points, radii, value in (
        ([(-27, -20, 28), (-27, -22, 90), (-29, -20, 140)], [8, 9, 10], venous),
        ([(-27, -20, 30), (10, -34, 36), (40, -30, 12)], [7, 6, 6], venous),
        ([(-14, -26, 2), (-9, -14, 60)], [5.5, 6.5], blood),
        ([(14, -10, 0), (6, -6, 62)], [4.5, 5], blood),
        ([(26, 4, 0), (16, 4, 64)], [5, 5.5], blood),
        ([(4, -24, 150), (-10, -26, 112), (-7, -20, 82), (6, 0, 70), (22, 26, 80), (26, 38, 100)], [15, 16, 15, 14, 13, 12.5], blood),
        ([(26, 38, 98), (24, 40, 180), (12, 44, 250), (8, 46, 400)], [12.5, 12, 11.5, 10], blood),
        ([(30, -44, 156), (22, -32, 124), (30, -8, 106), (46, 10, 110)], [15, 14.5, 12, 8], blood),
        ([(23, -28, 122), (4, -6, 116), (-24, 2, 118), (-42, 8, 122)], [12, 10.5, 10, 8], blood),
        ([(-26, 0, 215), (-27, 14, 300), (-26, 16, 400)], [13, 12, 11], venous),
        ([(6, 32, 0), (6, 36, 120), (10, 30, 215)], [7.5, 7, 8], 40),
    ):
        d = tube(x, y, z, points, radii)
        if d is not None:
            paint(hu, mask(d), value)
    for points, radii in (
        ([(0, -2, -80), (0, 2, 0), (1, 12, 96)], [9, 9, 8.5]),
        ([(1, 12, 96), (-22, 18, 122), (-44, 18, 142)], [8, 6.5, 4]),
        ([(1, 12, 96), (30, 20, 126), (50, 24, 148)], [7.5, 6, 3.8]),
    ):
        d = tube(x, y, z, points, radii)
        if d is not None:
            paint(hu, mask(d + 1.6), 30)
            paint(hu, mask(d), -985)


def abdomen(hu, x, y, z, blood, inner):
    """Liver, stomach and spleen under the diaphragm."""
    right, left = diaphragm(x, y)
    under = np.minimum(np.maximum(z - right, (z - left)), inner - 2)
    if z < 180:
        return
    paint(hu, mask(under, 3), -95)
    gain = 0.35 * (blood - 45)
    lobe = np.minimum(np.minimum((z - right) * 0.8, inner - 3), ellipse(x, y, -58, -6, 100, 84, 0.15) + 4)
    paint(hu, mask(lobe, 2), 58 + gain)
    if z > 205:
        for cx, cy, rx, ry in ((-70, -12, 26, 3), (-48, 18, 3, 20), (-88, 30, 16, 3.2), (-40, -22, 15, 2.8)):
            paint(hu, mask(ellipse(x, y, cx, cy, rx, ry, 0.5), 2) * mask(lobe - 6), 60 + 1.7 * gain)
    cut = np.minimum((z - left) * 0.8, inner - 4)
    spleen = np.minimum(cut, ellipse(x, y, 98, 36, 27, 46, -0.35))
    paint(hu, mask(spleen, 2), 55 + 1.2 * gain)
    if z < 330:
        bumps = 2.5 * np.sin(3 * np.arctan2(y + 24, x - 56) + z / 20)
        stomach = np.minimum(cut + 2, ellipse(x, y, 56, -24, 46, 36, -0.5) + bumps)
        paint(hu, mask(stomach, 1.5), 60)
        paint(hu, mask(stomach - 4, 1.5), 18)
        paint(hu, mask(stomach - 4, 1.5) * mask(-34 - y, 1.0), -960)


def slice_hu(x, y, z, contrast=True, with_arms=False, with_nodule=True):
    """Returns the plane at `z` in HU; `x` is a row and `y` a column of coordinates."""
    blood = 215.0 if contrast else 45.0
    shape = np.broadcast(x, y).shape
    hu = np.full(shape, -1000.0)
    out = ellipse(x, y, 0, 5, np.interp(z, OUTLINE_Z, OUTLINE_A), np.interp(z, OUTLINE_Z, OUTLINE_B), power=2.3)
    if with_arms:
        for s in (-1, 1):
            d = tube(x, y, z, [(s * 148, 4, 4), (s * 174, 6, 80), (s * 204, 8, 460)], [38, 42, 44])
            if d is not None:
                out = np.maximum(out, d)
    body = mask(out)
    paint(hu, body, -20)
    paint(hu, mask(out - 1.8), -102)
    angle = np.arctan2(x, y)
    fat = 11 + 5 * np.cos(2 * angle) + 2.5 * np.sin(5 * angle + z / 40)
    paint(hu, mask(out - fat, 2), 56)
    inner = cavity(x, y, z)
    for s in (-1, 1):
        if z < 115:
            depth = 1 - max(0.0, z - 60) / 70
            paint(hu, mask(ellipse(x, y, s * 138, -10, 17 * depth, 34 * depth, s * 0.3), 3) * mask(out - 9, 3), -98)
        seam = np.abs(ellipse(x, y, 0, -8, np.interp(z, CAVITY_Z, CAVITY_A) + 17, np.interp(z, CAVITY_Z, CAVITY_B) + 11))
        paint(hu, mask(1.0 - seam, 1.2) * mask(out - 14, 2) * 0.35, -90)
        paint(hu, mask(ellipse(x, y, s * 26, np.interp(z, CAVITY_Z, CAVITY_B) + 17, 22, 13, s * 0.2)) * mask(out - 12), 62)
    paint(hu, mask(inner), -88)
    paint(hu, mask(ellipse(x, y, 2, 6, 26, 52), 4) * mask(inner), -30)
    air = lungs(x, y, z)
    lung = mask(air, 1.2)
    paint(hu, lung, -868 + 55 * np.clip((y + 20) / 100, -1, 1))
    lung_trees(hu, x, y, z, blood, lung)
    abdomen(hu, x, y, z, blood, inner)
    heart(hu, x, y, z, blood)
    great_vessels(hu, x, y, z, blood)
    bones(hu, x, y, z, body)
    if with_arms:
        arms(hu, x, y, z, body)
    if with_nodule and abs(z - NODULE[2]) < 30:
        dx, dy, dz = x - NODULE[0], y - NODULE[1], z - NODULE[2]
        lobed = NODULE_RADIUS + 0.9 * np.sin(3 * np.arctan2(dy, dx) + 0.6)
        paint(hu, mask(lobed - np.sqrt(dx**2 + dy**2 + dz**2)), 38)
        for k in range(7):
            a = 0.4 + k * 0.9
            tip = (NODULE[0] + 16 * np.cos(a), NODULE[1] + 16 * np.sin(a), NODULE[2] + 5 * np.sin(2.3 * k))
            d = tube(x, y, z, [NODULE, tip], [2.0, 0.4])
            if d is not None:
                paint(hu, mask(d, 1.0) * 0.75 * lung, -150)
    return hu


def table(hu, x, y):
    """The couch under the patient: two thin curved shells with foam between them."""
    depth = 125 + 6 * (1 - (x / 175) ** 2) + 0 * y
    width = mask(172 - np.abs(x), 2)
    slab = mask(np.minimum(y - depth, depth + 26 * np.sqrt(np.maximum(0, 1 - (x / 178) ** 2)) - y)) * width
    paint(hu, slab, -955)
    paint(hu, mask(1.3 - np.abs(y - depth)) * width, -420)
    paint(hu, mask(1.3 - np.abs(y - depth - 26 * np.sqrt(np.maximum(0, 1 - (x / 178) ** 2)))) * width, -420)
