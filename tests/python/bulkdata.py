"""Every BulkDataURI in the metadata of the corpus is fetched and compared with the value in the file.

Stores each valid and quirky file by STOW-RS, walks its metadata, sequences included, and fetches what is
behind every URI, as a single part and as multipart. Compressed pixel data comes as its frames.
"""

import sys
import warnings

import pydicom
import requests
from pydicom.encaps import generate_frames

from common import DICOMWEB, manifest

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
session = requests.Session()
OCTETS = "application/octet-stream"
MULTIPART = f'multipart/related; type="{OCTETS}"; transfer-syntax=*'
WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8, "US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}


def store(path):
    """STOW-RS of the bytes as they are; returns the URL of the instance, or nothing when it is refused."""
    with open(path, "rb") as file:
        content = file.read()
    answer = session.post(
        DICOMWEB + "/studies",
        data=b"--x1x\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--x1x--\r\n",
        headers={
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=x1x',
            "Accept": "application/dicom+json",
        },
    )
    if answer.status_code not in (200, 202):
        return None
    return answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]


def found(data_set, elements, path=()):
    """Yields tag path, element of the metadata and the data set of the file that holds it."""
    for tag, element in elements.items():
        if "BulkDataURI" in element:
            yield path + (tag,), element, data_set
        for number, item in enumerate(element.get("Value", []) if element["vr"] == "SQ" else []):
            yield from found(items(data_set, tag)[number], item or {}, path + (tag, number))


def items(data_set, tag):
    return data_set[int(tag, 16)].value


def stored_value(data_set, tag, big_endian):
    """The raw bytes of an element, little endian, without the pad byte."""
    raw = data_set.get_item(int(tag, 16), keep_deferred=False)
    value = raw.value
    if not isinstance(value, (bytes, bytearray)):
        return None
    size = WORDS.get(raw.VR, 1)
    if tag == "7FE00010" and raw.VR == "OW":
        size = max(2, int(data_set.get("BitsAllocated", 16)) // 8)
    if big_endian and size > 1:
        value = b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))
    return bytes(value)


def parts(answer):
    boundary = answer.headers["Content-Type"].split("boundary=")[1].strip('"')
    pieces = answer.content.split(b"--" + boundary.encode())
    return [piece.split(b"\r\n\r\n", 1)[1][:-2] for piece in pieces[1:-1]]


def main():
    folder = sys.argv[1]
    wrong, fetched, octets, instances = [], 0, 0, 0
    for row in manifest(folder, ("valid", "quirk")):
        url = store(f"{folder}/{row['file']}")
        if url is None:
            continue
        instances += 1
        data_set = pydicom.dcmread(f"{folder}/{row['file']}", force=True)
        syntax = row["transfer_syntax_uid"]
        [metadata] = session.get(url + "/metadata", headers={"Accept": "application/dicom+json"}).json()
        try:
            walked = list(found(data_set, metadata))
        except (KeyError, IndexError, TypeError):
            # What pydicom reads otherwise is still fetched below, uncompared.
            walked = list(found(None, {tag: e for tag, e in metadata.items() if "BulkDataURI" in e}))
        for path, element, holder in walked:
            at = f"{row['file']} {'.'.join(map(str, path))}"
            single = session.get(element["BulkDataURI"], headers={"Accept": f"{OCTETS}; transfer-syntax=*, */*;q=0.1"})
            several = session.get(element["BulkDataURI"], headers={"Accept": MULTIPART})
            if several.status_code != 200:
                # As stored is a picture here, which is asked for by its own type.
                several = session.get(element["BulkDataURI"], headers={"Accept": "*/*"})
            for answer in (single, several):
                if answer.status_code != 200:
                    wrong.append(f"{at}: {answer.status_code} {answer.text[:200]}")
            if several.status_code != 200 or not several.headers["Content-Type"].startswith("multipart"):
                continue
            fetched += 1
            came = parts(several)
            octets += sum(map(len, came))
            try:
                expected = stored_value(holder, path[-1], syntax == "1.2.840.10008.1.2.2") if holder is not None else None
            except Exception:
                expected = None
            if expected is None:
                continue
            if path == ("7FE00010",) and data_set["PixelData"].is_undefined_length:
                # A video is one stream whatever its number of frames.
                video = syntax.startswith("1.2.840.10008.1.2.4.10")
                frames = 1 if video else int(data_set.get("NumberOfFrames", 1) or 1)
                if len(came) != frames and row["validity"] == "valid":
                    wrong.append(f"{at}: {len(came)} parts for {frames} frames")
                try:
                    sent = list(generate_frames(expected, number_of_frames=frames))
                except Exception:
                    continue
                if row["validity"] == "valid" and [p.rstrip(b"\0") for p in came] != [p.rstrip(b"\0") for p in sent]:
                    wrong.append(f"{at}: other frames than in the file")
            elif [came[0].rstrip(b"\0")] != [expected.rstrip(b"\0")] or len(came) != 1:
                wrong.append(f"{at}: {len(came[0])} bytes, other than the {len(expected)} in the file")
    print(f"{instances} instances, {fetched} bulk values of {octets / 1e6:.1f} MB fetched, {len(wrong)} wrong")
    print("\n".join(wrong))
    sys.exit(1 if wrong or fetched < 100 else 0)


main()
