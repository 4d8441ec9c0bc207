"""Rendered pictures of difficult images of the corpus, beside what pydicom's own look-ups make of them.

One line per case; the mean difference (of 255) is printed and bounded. What is not a picture is asked for
as what it is.
"""

import sys
import warnings
from io import BytesIO

import numpy
import pydicom
import requests
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing, convert_color_space

from common import DICOMWEB

warnings.simplefilter("ignore")
session = requests.Session()

# What a line is about, the file, the frame, and how far the mean may lie off (of 255).
PICTURES = [
    ("palette colour, 16 bit entries", "synthetic/palette16_first0.dcm", 1, 1.5),
    ("palette colour, RLE, frame 3", "dcm4che/US-PAL-8-10x-echo", 3, 1.5),
    ("MONOCHROME1", "highdicom/dx_image.dcm", 1, 2),
    ("MONOCHROME1 with LINEAR_EXACT", "synthetic/mono1_voi_linear_exact.dcm", 1, 2),
    ("modality LUT sequence", "pydicom-data/mlut_18.dcm", 1, 2),
    ("VOI LUT sequence", "pydicom-data/vlut_04.dcm", 1, 2),
    ("signed, padded, fractional slope", "synthetic/signed_padding_oddsize.dcm", 1, 2),
    ("RGB by plane, odd size", "synthetic/rgb_planar1_odd.dcm", 1, 1.5),
    ("big endian RGB", "pydicom/ExplVR_BigEnd.dcm", 1, 1.5),
    ("one bit per pixel, frame 2", "synthetic/single_bit_7x13x11.dcm", 2, 2),
    ("enhanced CT, frame 2", "pydicom-data/eCT_Supplemental.dcm", 2, 3),
]

# What a line is about, the file, what is asked for, and how the answer begins.
OTHERS = [
    ("PDF", "synthetic/encapsulated_pdf.dcm", "application/pdf", b"%PDF"),
    ("SR", "dcmjs-dimse/sr.dcm", "text/html", b"<!"),
    ("video", "synthetic/video_mpeg4_hp41.dcm", "video/mp4", b""),
]


def store(path):
    with open(path, "rb") as file:
        answer = session.post(
            DICOMWEB + "/studies",
            data=file.read(),
            headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
        )
    assert answer.status_code in (200, 202), f"{answer.status_code} {answer.text}"
    return answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]


def expected(path, frame):
    """The picture as pydicom's functions make it: grey or RGB, 0 to 255."""
    data_set = pydicom.dcmread(path)
    pixels = data_set.pixel_array
    if int(data_set.get("NumberOfFrames", 1)) > 1:
        pixels = pixels[frame - 1]
    photometric = data_set.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, data_set)
        bits = coloured.dtype.itemsize * 8
        return coloured.astype(float) / (2**bits - 1) * 255
    if photometric == "YBR_FULL":
        return convert_color_space(pixels, "YBR_FULL", "RGB").astype(float)
    if data_set.SamplesPerPixel == 3:
        return pixels.astype(float) / (2**data_set.BitsStored - 1) * 255
    values = data_set
    if "SharedFunctionalGroupsSequence" in data_set:
        values = pydicom.Dataset()
        for group in (data_set.PerFrameFunctionalGroupsSequence[frame - 1], data_set.SharedFunctionalGroupsSequence[0]):
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for element in group.get(name, [pydicom.Dataset()])[0]:
                    values.setdefault(element.tag, element)
        for keyword in ("BitsStored", "PixelRepresentation", "PhotometricInterpretation"):
            setattr(values, keyword, getattr(data_set, keyword))
    pixels = apply_modality_lut(pixels, values)
    shown = (apply_voi_lut if "VOILUTSequence" in values else apply_windowing)(pixels, values).astype(float)
    if "VOILUTSequence" in values:
        shown = shown / (2 ** values.VOILUTSequence[0].LUTDescriptor[2] - 1)
    elif "WindowCenter" in values:
        # pydicom windows to the range that the stored bits have after the modality LUT.
        shown = (shown - shown.min()) / (numpy.ptp(shown) or 1)
    else:
        shown = (shown - shown.min()) / (numpy.ptp(shown) or 1)
    return (1 - shown if photometric == "MONOCHROME1" else shown) * 255


def main():
    folder = sys.argv[1]
    failed = []
    for what, file, frame, most in PICTURES:
        path = f"{folder}/{file}"
        try:
            url = store(path)
            answer = session.get(f"{url}/frames/{frame}/rendered", headers={"Accept": "image/png"})
            assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
            wanted = expected(path, frame)
            picture = Image.open(BytesIO(answer.content)).convert("RGB" if wanted.ndim == 3 else "L")
            got = numpy.asarray(picture, dtype=float)
            assert got.shape == wanted.shape, f"{got.shape}, not {wanted.shape}"
            mean = float(numpy.abs(got - wanted).mean())
            print(f"{what}: mean difference {mean:.2f}")
            assert mean <= most, f"mean difference {mean:.2f}, at most {most}"
        except Exception as error:
            failed.append(f"{what} ({file}): {type(error).__name__}: {error}")
    for what, file, kind, start in OTHERS:
        url = store(f"{folder}/{file}")
        answer = session.get(f"{url}/rendered", headers={"Accept": kind})
        came = answer.headers.get("Content-Type", "")
        if answer.status_code != 200 or not came.startswith(kind) or not answer.content.lstrip().startswith(start):
            failed.append(f"{what} ({file}): {answer.status_code} {came} {answer.text[:100]}")
    print("\n".join(failed))
    sys.exit(1 if failed else 0)


main()
