"""The radiograph: rays through the chest from back to front, then the grey scale of a film."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .shapes import noise, smooth
from .thorax import slice_hu

ROWS, COLUMNS, PITCH = 840, 760, 0.46  # Millimetres a pixel.


def chest():
    """Returns 12-bit stored values of a MONOCHROME1 chest film (bone is low, air is high)."""
    x = ((np.arange(COLUMNS) + 0.5) * PITCH - COLUMNS * PITCH / 2)[None, :]
    y = np.arange(-134.0, 140.0, 3.0)[:, None]
    lines = []
    for k in range(0, ROWS, 2):
        hu = slice_hu(x, y, k * PITCH - 76.0, contrast=False, with_arms=True, with_nodule=False)
        dense = np.maximum(0.0, 1.0 + hu / 1000.0) + 1.25 * np.maximum(0.0, hu - 120.0) / 1000.0
        lines.append(dense.sum(axis=0) * 3.0 * 0.02)
    thick = np.repeat(np.array(lines), 2, axis=0)
    pad = np.pad(np.minimum(thick, 5.9), 160, mode="edge")
    crop = slice(160, -160), slice(160, -160)
    thick = smooth(pad, (1.1, 0.9))[crop]
    # What a processing station does: compress the slow changes, keep the fine ones.
    base = smooth(pad, (42, 42))[crop]
    grey = 0.62 * base + 1.35 * (thick - base)
    low, high = np.percentile(grey, [9, 99.7])
    grey = np.clip((grey - low) / (high - low), 0, 1) ** 0.92
    quanta = noise(31, (ROWS, COLUMNS), (0.6, 0.6)) * (0.006 + 0.012 * grey)
    grey = np.clip(grey + quanta, 0, 1)
    sheet = Image.fromarray((grey * 4095).astype(np.int32), "I")
    draw = ImageDraw.Draw(sheet)
    draw.text((COLUMNS - 86, 96), "L", fill=4000, font=ImageFont.load_default(58))
    return (4095 - np.asarray(sheet)).clip(0, 4095).astype("<u2")
