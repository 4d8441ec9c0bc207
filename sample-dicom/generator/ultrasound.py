"""A beating heart in an ultrasound sector (apical four-chamber view) with its electrocardiogram."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .shapes import noise

WIDTH, HEIGHT, FRAMES, FRAME_MS = 640, 480, 30, 33.3
APEX = (320.0, 26.0)
DEPTH = 400.0  # Pixels from the transducer to the deepest echo.
DEPTH_CM = 16.0
HALF_ANGLE = 0.70


def beat(phase):
    """How far the ventricles are emptied at `phase` (0..1) of the cycle: 0 full, 1 empty."""
    if phase < 0.36:
        return np.sin(np.pi * phase / 0.36 / 2) ** 2
    if phase < 0.62:
        return np.cos(np.pi * (phase - 0.36) / 0.26 / 2) ** 2 * 0.85 + 0.15 * (1 - (phase - 0.36) / 0.26)
    return 0.06 * np.sin(np.pi * (phase - 0.62) / 0.38)


def wave(t):
    """The electrocardiogram at `t` cycles: P, QRS and T."""
    t = t % 1.0
    bump = lambda at, width, high: high * np.exp(-(((t - at) / width) ** 2))
    return bump(0.86, 0.03, 0.16) + bump(0.985, 0.009, -0.18) + bump(0.005, 0.011, 1.0) + bump(0.028, 0.01, -0.3) + bump(0.30, 0.05, 0.27)


def bag(u, v, cu, cv, ru, rv, tip=0.0):
    """An egg: 1 at its wall, 0 at the middle; `tip` narrows the upper end."""
    squeeze = ru * (1 + tip * np.clip((v - cv) / rv, -1, 1))
    return np.sqrt(((u - cu) / squeeze) ** 2 + ((v - cv) / rv) ** 2)


def frame(number, speckle, grid):
    """One frame in grey, before the overlays; `grid` is depth and angle of each pixel."""
    phase = number / FRAMES
    empty = beat(phase)
    depth, angle = grid
    u = depth * np.sin(angle) * DEPTH
    v = depth * np.cos(angle) * DEPTH
    u = u + 6 + 0.05 * (v - 200)
    sink = 14 * empty  # The valve plane moves towards the tip of the heart.
    plane = 222 - sink
    left = bag(u, v, 42, 150 - sink * 0.5, 54 - 17 * empty, 92 - 12 * empty, 0.30)
    right = bag(u, v, -56, 160 - sink * 0.5, 38 - 11 * empty, 72 - 10 * empty, 0.34)
    left_atrium = bag(u, v, 44, plane + 58, 46 + 7 * empty, 48 + 8 * empty, -0.1)
    right_atrium = bag(u, v, -50, plane + 54, 44 + 6 * empty, 44 + 8 * empty, -0.1)
    heart = bag(u, v, -2, 176, 134 - 7 * empty, 170, 0.20)
    echo = np.full(depth.shape, 34.0)
    echo += 22 * np.clip(noise_lookup(speckle[1], depth, angle), -1, 2)
    echo = np.where(heart < 1, 88.0, echo)
    echo += 120 * np.exp(-(((heart - 1.02) * 9) ** 2))
    for cave, rim in ((left, 70), (right, 60), (left_atrium, 60), (right_atrium, 60)):
        echo = np.where(cave < 1, 7.0, echo)
        echo += rim * np.exp(-(((cave - 1.03) * 13) ** 2))
    # Leaflets hinge at the ring: closed in systole, swung towards the tip otherwise.
    swing = 0.18 if phase < 0.40 else 0.18 + 1.0 * min(1.0, (phase - 0.40) / 0.08) * (1 - 0.35 * np.sin(np.pi * max(0.0, phase - 0.5) / 0.5))
    for hinge, way, length in ((12, 1, 38), (78, -1, 30), (-22, -1, 32), (-88, 1, 28)):
        du, dv = way * np.cos(swing), -np.sin(swing)
        along = np.clip((u - hinge) * du + (v - plane) * dv, 0, length)
        away = np.hypot(u - hinge - along * du, v - plane - along * dv)
        echo += 150 * np.exp(-((away / 3.0) ** 2))
    # Echoes across the beam are strong, along it weak; far echoes fade and blur.
    gain = (0.72 + 0.28 * np.cos(angle * 1.6)) * (1.08 - 0.42 * depth)
    drift = int(round(2 * np.sin(2 * np.pi * phase)))
    parts = [noise_lookup(np.roll(speckle[k], drift, 0), depth, angle) for k in (0, 2)]
    grain = 0.22 + 0.68 * np.hypot(*parts)  # The sum of many small echoes: Rayleigh distributed.
    echo = echo * gain * grain + 60 * np.exp(-((depth / 0.035) ** 2))
    return np.clip(255 * (np.clip(echo, 0, 400) / 230.0) ** 0.72, 0, 255)


def noise_lookup(field, depth, angle):
    """Noise made in beam coordinates, so that grains grow wide with depth as real ones do."""
    rows, cols = field.shape
    r = np.clip(depth * (rows - 1), 0, rows - 1)
    c = np.clip((angle / HALF_ANGLE * 0.5 + 0.5) * (cols - 1), 0, cols - 1)
    r0, c0 = np.minimum(r.astype(int), rows - 2), np.minimum(c.astype(int), cols - 2)
    fr, fc = r - r0, c - c0
    top = field[r0, c0] * (1 - fc) + field[r0, c0 + 1] * fc
    low = field[r0 + 1, c0] * (1 - fc) + field[r0 + 1, c0 + 1] * fc
    return top * (1 - fr) + low * fr


def pictures():
    """Returns the frames as RGB images."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    depth = np.hypot(x - APEX[0], y - APEX[1]) / DEPTH
    angle = np.arctan2(x - APEX[0], y - APEX[1])
    seen = (depth < 1) & (np.abs(angle) < HALF_ANGLE) & (depth > 0.012)
    speckle = noise(71, (512, 160), (1.3, 0.75)), noise(72, (256, 128), (6, 5)), noise(73, (512, 160), (1.3, 0.75))
    small, large = ImageFont.load_default(12), ImageFont.load_default(15)
    out = []
    for number in range(FRAMES):
        grey = np.where(seen, frame(number, speckle, (depth, angle)), 0).astype(np.uint8)
        image = Image.fromarray(np.stack([grey] * 3, -1))
        draw = ImageDraw.Draw(image)
        for k in range(64):
            draw.line([(16, 60 + 2 * k), (26, 60 + 2 * k)], fill=(255 - 4 * k,) * 3, width=2)
        for cm in range(0, int(DEPTH_CM) + 1):
            at = APEX[1] + cm / DEPTH_CM * DEPTH
            draw.line([(600, at), (606 if cm % 5 else 612, at)], fill=(170, 170, 170))
            if cm % 5 == 0 and cm:
                draw.text((616, at - 7), str(cm), fill=(170, 170, 170), font=small)
        trace = [(60 + k, 464 - 26 * wave(k / 250.0)) for k in range(0, 521)]
        draw.line(trace, fill=(40, 200, 90), width=1)
        now = 60 + number / FRAMES * 250
        draw.line([(now, 430), (now, 470)], fill=(230, 200, 60))
        draw.text((16, 10), "QIANLI DEMO", fill=(90, 170, 255), font=large)
        draw.text((16, 30), "A4C  16 cm", fill=(170, 170, 170), font=small)
        draw.text((520, 10), "SYNTHETIC", fill=(230, 200, 60), font=large)
        draw.text((586, 448), "75 bpm", fill=(40, 200, 90), font=small)
        out.append(image)
    return out


def jpeg(image):
    """Baseline JPEG with 4:2:2 chroma, the coding most scanners send."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=76, subsampling=1, optimize=False)
    return out.getvalue()
