"""Asks for every image of the corpus in Explicit VR Little Endian, and in each lossless syntax that the
node offers, and compares the pixels of frame 1 with those that the manifest records.

Whole objects are read by pydicom; a single frame must be the very bytes that the whole object holds.
Writes transcoded-NAME.tsv: file, transfer syntax, asked for, verdict.
"""

import hashlib
import os
import re
import sys
import warnings
from collections import Counter
from io import BytesIO

import numpy
import pydicom
import requests
from pydicom.pixels import get_decoder, pixel_array

from common import ARTIFACTS, DICOMWEB, manifest

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

EXPLICIT = "1.2.840.10008.1.2.1"

# Syntaxes that the node must decode; of others it may say that it does not.
DECODED = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.53",
    "1.2.840.10008.1.2.4.55",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.5",
}

# How far the mean of a lossy frame may lie from another decoder's.
LOSSY_MEAN = 1.0

# Files that differ from the manifest for a reason, and the reason.
DIFFERENT = {
    "fo-dicom/GH195.dcm": "claims RGB over a YCbCr stream, which the reference left unconverted",
}

SESSION = requests.Session()
SESSION.trust_env = False


def store(path):
    """Stores a file; returns the path of the instance, or None and why it is not kept."""
    with open(path, "rb") as file:
        body = file.read()
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    answer = SESSION.post(f"{DICOMWEB}/studies", data=body, headers=headers)
    stored = answer.json().get("00081199", {}).get("Value", []) if answer.content else []
    if not stored:
        return None, f"not stored: {answer.status_code}"
    return stored[0]["00081190"]["Value"][0], ""


def retrieve(url, accept):
    return SESSION.get(url, headers={"Accept": accept})


def first_frame(data_set):
    """Frame 1 as an array, as pydicom gives it without converting colours."""
    return pixel_array(data_set, index=0, raw=True)


def compare(row, array):
    """Returns what is wrong with the pixels of frame 1, or the empty text."""
    bytes_ = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    if hashlib.sha256(bytes_).hexdigest() == row["px_sha256"]:
        return ""
    mean = float(numpy.mean(array, dtype=numpy.float64))
    # Some streams are lossy whatever their transfer syntax says: other decoders differ over them too.
    lossy = row["lossy"] == "1" or "differs" in row["px_agree"]
    if lossy and abs(mean - float(row["px_mean"])) <= LOSSY_MEAN:
        return ""
    return f"other pixels: mean {mean:.3f}, in the manifest {row['px_mean']}"


def as_explicit(row, url):
    """Checks the object and its frame 1 in Explicit VR Little Endian."""
    answer = retrieve(url, f"application/dicom; transfer-syntax={EXPLICIT}")
    if answer.status_code == 406 and row["transfer_syntax_uid"] not in DECODED:
        return "not decoded"
    if answer.status_code != 200:
        return f"{answer.status_code}: {answer.text.strip().split('; ')[-1]}"
    data_set = pydicom.dcmread(BytesIO(answer.content), force=True)
    syntax = data_set.file_meta.TransferSyntaxUID
    if syntax != EXPLICIT:
        return f"came as {syntax}"
    wrong = compare(row, first_frame(data_set))
    if wrong:
        return wrong
    accept = f"application/octet-stream; transfer-syntax={EXPLICIT}"
    frame = retrieve(f"{url}/frames/1", accept)
    if frame.status_code != 200:
        return f"frame 1: {frame.status_code}: {frame.text.strip()}"
    pixels = next(
        data_set[tag].value for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009) if tag in data_set
    )
    bits = data_set.get("BitsAllocated", 8) * data_set.get("SamplesPerPixel", 1)
    size = data_set.Rows * data_set.Columns * bits
    if data_set.PhotometricInterpretation == "YBR_FULL_422":
        size = len(frame.content) * 8
    same = frame.content[: size // 8] == pixels[: size // 8]
    return "" if same else "frame 1 is not what the object holds"


def lossless_targets(url):
    """Lossless encapsulated syntaxes that the node offers for an instance."""
    answer = retrieve(url, "image/x-nothing")
    offered = re.findall(r"1\.2\.840\.10008\.1\.2[0-9.]*", answer.text)
    known = {
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.1.98",
    }
    return [uid for uid in dict.fromkeys(offered) if uid in known]


def as_compressed(row, url, syntax):
    """Checks the object in a lossless syntax, as far as pydicom can decode that."""
    answer = retrieve(url, f"application/dicom; transfer-syntax={syntax}")
    if answer.status_code == 406:
        return "no place"
    if answer.status_code != 200:
        return f"{answer.status_code}: {answer.text.strip()}"
    data_set = pydicom.dcmread(BytesIO(answer.content), force=True)
    if data_set.file_meta.TransferSyntaxUID != syntax:
        return f"came as {data_set.file_meta.TransferSyntaxUID}"
    try:
        if not get_decoder(syntax).is_available:
            return "not checked"
        array = first_frame(data_set)
    except (NotImplementedError, AttributeError, KeyError):
        return "not checked"
    except RuntimeError as error:
        if "Pillow cannot decode 16-bit multi-sample" not in str(error):
            raise
        return "not checked"
    return compare(row, array)


def main():
    folder, name = sys.argv[1:3]
    failures, counts = [], Counter()
    table = open(os.path.join(ARTIFACTS, f"transcoded-{name}.tsv"), "w", encoding="utf-8")
    with table:
        print("file\tstored\tasked\tverdict", file=table)

        def note(row, asked, verdict):
            print(row["file"], row["transfer_syntax_uid"], asked, verdict, sep="\t", file=table)
            known = ("no place", "not checked", "not decoded")
            kind = verdict if verdict in known else "wrong" if verdict else "same"
            counts[(asked, kind)] += 1
            if kind == "wrong" and row["file"] not in DIFFERENT:
                failures.append(f"{row['file']} ({row['transfer_syntax_uid']}) as {asked}: {verdict}")

        for row in manifest(folder, ("valid",)):
            if not row["px_sha256"]:
                continue
            url, wrong = store(os.path.join(folder, row["file"]))
            if url is None:
                note(row, "store", wrong)
                continue
            try:
                note(row, EXPLICIT, as_explicit(row, url))
                for syntax in lossless_targets(url):
                    if syntax != row["transfer_syntax_uid"]:
                        note(row, syntax, as_compressed(row, url, syntax))
            except Exception as error:  # noqa: BLE001: one file must not hide the others
                note(row, "all", f"{type(error).__name__}: {error}")
    for (asked, kind), count in sorted(counts.items()):
        print(f"{asked}\t{kind}\t{count}")
    print(*failures, sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
