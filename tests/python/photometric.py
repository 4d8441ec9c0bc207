"""Colour and byte order after transcoding: what the header says of the pixels is what the pixels are.

Every colour image of the corpus is asked for in Explicit VR Little Endian; turned into RGB as its
Photometric Interpretation says, it must look like the node's own rendering. Frames of big endian objects
must be the manifest's little endian pixels.
"""

import hashlib
import sys
import warnings
from io import BytesIO

import numpy
import pydicom
import requests
from PIL import Image
from pydicom.pixels import apply_color_lut, convert_color_space, pixel_array

from common import DICOMWEB, manifest

warnings.simplefilter("ignore")
session = requests.Session()
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
# Mean difference of 255 that two conversions from YBR may have.
MOST = 2.5


def store(path):
    with open(path, "rb") as file:
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
        answer = session.post(DICOMWEB + "/studies", data=file.read(), headers=headers)
    if answer.status_code not in (200, 202):
        return None
    return answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]


def colours(url):
    """The mean difference between the object as its header has it and the rendering, or why there is none."""
    answer = session.get(url, headers={"Accept": f"application/dicom; transfer-syntax={EXPLICIT}"})
    picture = session.get(url + "/frames/1/rendered", headers={"Accept": "image/png"})
    if answer.status_code == 406 or picture.status_code == 406:
        return None, "not decoded"
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    assert picture.status_code == 200, f"{picture.status_code} {picture.text}"
    data_set = pydicom.dcmread(BytesIO(answer.content), force=True)
    pixels = pixel_array(data_set, index=0, raw=True)
    photometric = data_set.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, data_set)
        wanted = coloured.astype(float) / (2 ** (coloured.dtype.itemsize * 8) - 1) * 255
    elif photometric.startswith("YBR_FULL"):
        wanted = convert_color_space(pixels, "YBR_FULL", "RGB").astype(float)
    elif photometric == "RGB":
        wanted = pixels.astype(float) / (2**data_set.BitsStored - 1) * 255
    else:
        raise AssertionError(f"native pixels cannot be {photometric}")
    got = numpy.asarray(Image.open(BytesIO(picture.content)).convert("RGB"), dtype=float)
    if got.shape != wanted.shape:
        return None, "not the same shape (pixels that are not square)"
    return float(numpy.abs(got - wanted).mean()), photometric


def main():
    folder = sys.argv[1]
    failed, compared, swapped = [], 0, 0
    for row in manifest(folder, ("valid",)):
        colour = row["photometric"] not in ("", "MONOCHROME1", "MONOCHROME2")
        # The manifest has colours by pixel and bits unpacked, which a frame's bytes need not be.
        big = row["transfer_syntax_uid"] == BIG_ENDIAN and not colour and row["bits"] != "1"
        if not row["px_sha256"] or not (colour or big):
            continue
        try:
            url = store(f"{folder}/{row['file']}")
            if url is None:
                continue
            if big:
                accept = f"application/octet-stream; transfer-syntax={EXPLICIT}"
                frame = session.get(url + "/frames/1", headers={"Accept": accept})
                assert frame.status_code == 200, f"frame 1: {frame.status_code} {frame.text}"
                assert hashlib.sha256(frame.content).hexdigest() == row["px_sha256"], "frame 1: other bytes"
                swapped += 1
            if colour:
                mean, words = colours(url)
                if mean is not None:
                    compared += 1
                    assert mean <= MOST, f"{words}: mean difference {mean:.2f} from the rendering"
        except Exception as error:
            failed.append(f"{row['file']} ({row['photometric']}, {row['transfer_syntax_uid']}): {error}")
    print(f"{compared} colour images agree with their header, {swapped} big endian frames came little endian")
    print("\n".join(failed))
    sys.exit(1 if failed or compared < 30 or swapped < 5 else 0)


main()
