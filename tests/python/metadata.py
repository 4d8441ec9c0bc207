"""Compares the node's DICOM JSON with pydicom's for valid files of the corpus, element for element.

Bulk values are compared in the Rust tests; numbers are compared as numbers, since "1.50" and 1.5 are
the same value to a client.
"""

import base64
import os
import sys
import warnings

import pydicom
from dicomweb_client.api import DICOMwebClient

from common import DICOMWEB, manifest, read

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.convert_wrong_length_to_UN = True

BINARY = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}


def plain(value):
    if isinstance(value, dict):
        groups = {key: text.rstrip("^ ") for key, text in value.items() if text and text.strip("^ ")}
        return groups or None
    if isinstance(value, str):
        text = value.rstrip(" \0")
        try:
            return float(text)
        except ValueError:
            return text or None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return value


def values(element):
    found = [plain(value) for value in element.get("Value", [])]
    while found and found[-1] is None:
        found.pop()
    return found


def compare(ours, theirs, big_endian, where=""):
    for tag in sorted(set(ours) | set(theirs)):
        at = where + tag
        if tag.endswith("0000") or tag.startswith("0002") or tag in ("FFFCFFFC", "00080005"):
            # Group lengths; padding; the charset, which is UTF-8 in JSON whatever was sent.
            continue
        if tag not in ours or tag not in theirs:
            yield f"{at} only {'in ours' if tag in ours else 'in that of pydicom'}"
            continue
        one, other = ours[tag], theirs[tag]
        if one["vr"] != other["vr"] and "UN" not in (one["vr"], other["vr"]):
            yield f"{at}: VR {one['vr']}, not {other['vr']}"
        elif one["vr"] == "SQ" and other["vr"] == "SQ":
            left, right = one.get("Value", []), other.get("Value", [])
            if len(left) != len(right):
                yield f"{at}: {len(left)} items, not {len(right)}"
            for number, pair in enumerate(zip(left, right)):
                yield from compare(*[item or {} for item in pair], big_endian, where=f"{at}[{number}].")
        elif "BulkDataURI" in one:
            # What is behind it is compared in the Rust tests.
            continue
        elif one["vr"] in BINARY or other["vr"] in BINARY:
            if "InlineBinary" in one and "InlineBinary" in other:
                left, right = [base64.b64decode(e["InlineBinary"]) for e in (one, other)]
                if big_endian and one["vr"] == "OW":
                    # PS3.18 F.2.7 wants little endian; pydicom passes on what it read.
                    right = b"".join(right[at + 1 : at + 2] + right[at : at + 1] for at in range(0, len(right), 2))
                if left.rstrip(b"\0") != right.rstrip(b"\0"):
                    yield f"{at}: other bytes"
        elif values(one) != values(other):
            yield f"{at} {one['vr']}: {values(one)!r}, not {values(other)!r}"


def main():
    folder = sys.argv[1]
    client = DICOMwebClient(DICOMWEB)
    checked, wrong = 0, []
    for row in manifest(folder, ("valid",)):
        if int(row["size"]) > 1_000_000 or row["validity"] != "valid":
            continue
        path = os.path.join(folder, row["file"])
        try:
            data_set = read(path)
            theirs = data_set.to_json_dict(bulk_data_threshold=1 << 30, bulk_data_element_handler=lambda _: "")
        except Exception as error:
            # Values that pydicom cannot put into JSON: not a yardstick.
            print(f"not compared: {row['file']}: {type(error).__name__}")
            continue
        try:
            post(client, path)
            uids = [str(data_set[tag].value).strip(" \0") for tag in (0x0020000D, 0x0020000E, 0x00080018)]
            ours = client.retrieve_instance_metadata(*uids)
        except Exception as error:
            wrong.append(f"{row['file']}: {type(error).__name__}: {error}")
            continue
        checked += 1
        found = list(compare(ours, theirs, row["transfer_syntax_uid"] == "1.2.840.10008.1.2.2"))
        if found:
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            wrong.append(f"{row['file']}: " + "; ".join(found[:4]) + more)
    print(f"{checked} files compared, {len(wrong)} differ")
    print("\n".join(wrong))
    sys.exit(1 if wrong or not checked else 0)


def post(client, path):
    """STOW-RS of the file as it is; dicomweb-client would encode it anew."""
    with open(path, "rb") as file:
        content = file.read()
    head = b"--x1x\r\nContent-Type: application/dicom\r\n\r\n"
    answer = client._http_post(
        DICOMWEB + "/studies",
        data=head + content + b"\r\n--x1x--\r\n",
        headers={
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=x1x',
            "Accept": "application/dicom+json",
        },
    )
    answer.raise_for_status()


main()
