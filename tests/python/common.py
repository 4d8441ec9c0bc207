"""What the scripts share: the node's address, the manifest, a raw C-STORE and a comparison of data sets."""

import csv
import os
import re
from io import BytesIO

import pydicom
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

HTTP = os.environ["QIANLI_HTTP"]
PORT = int(os.environ["QIANLI_DIMSE_PORT"])
TITLE = os.environ["QIANLI_AET"]
ARTIFACTS = os.environ["QIANLI_ARTIFACTS"]
DICOMWEB = HTTP + "/dicom-web"


# The manifest calls it valid because pydicom swallows its second half as one value. An element has a
# VR of two spaces and another has lost its length: DCMTK cannot send it, nobody can walk it.
DAMAGED = ("fo-dicom/GH179B.dcm",)


def manifest(folder, validities):
    with open(os.path.join(folder, "manifest.tsv"), encoding="utf-8", newline="") as table:
        reader = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [row for row in reader if row["validity"] in validities]
    for row in rows:
        if row["file"] in DAMAGED:
            row["validity"] = "quirk"
    return rows


def data_set_bytes(path):
    """Returns the encoded data set of a file and the transfer syntax to send it with."""
    with open(path, "rb") as file:
        content = file.read()
    at = 132 if content[128:132] == b"DICM" else 0
    syntax = ""
    while content[at : at + 2] == b"\x02\x00":
        element = int.from_bytes(content[at + 2 : at + 4], "little")
        if content[at + 4 : at + 6] in (b"OB", b"UN", b"UT", b"OW"):
            start, length = at + 12, int.from_bytes(content[at + 8 : at + 12], "little")
        else:
            start, length = at + 8, int.from_bytes(content[at + 6 : at + 8], "little")
        if element == 0x0010:
            syntax = content[start : start + length].decode("ascii").strip("\0 ")
        at = start + length
    body = content[at:]
    if not syntax:
        # Bare data sets: two capital letters after the tag mean explicit VR.
        explicit = re.fullmatch(rb"[A-Z]{2}", body[4:6]) is not None
        big = explicit and body[0] == 0
        syntax = "1.2.840.10008.1.2" + (".2" if big else ".1" if explicit else "")
    return body, syntax


def store_raw(path, sop_class, sop_instance):
    """C-STORE of the bytes as they are; returns the status and the comment, or None and a reason."""
    body, syntax = data_set_bytes(path)
    ae = AE(ae_title="RAW")
    ae.add_requested_context(sop_class, syntax)
    association = ae.associate("127.0.0.1", PORT, ae_title=TITLE)
    if not association.is_established:
        return None, "no association"
    try:
        accepted = association.accepted_contexts
        if not accepted:
            return None, "no accepted presentation context"
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID = UID(sop_class)
        request.AffectedSOPInstanceUID = UID(sop_instance)
        request.Priority = 2
        request.DataSet = BytesIO(body)
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, accepted[0].context_id)
        _, response = association.dimse.get_msg(True)
        association._reactor_checkpoint.set()
        if response is None:
            return None, "no answer"
        return response.Status, str(response.ErrorComment or "")
    finally:
        association.release()


def skipped(tag):
    # Group lengths are retired and recomputed by senders; trailing padding carries nothing.
    return tag.group == 2 or tag.element == 0 or tag == 0xFFFCFFFC


def differences(left, right, where=""):
    """Yields what differs between two data sets, element for element, sequences included."""
    tags = {tag for tag in [*left.keys(), *right.keys()] if not skipped(tag)}
    for tag in sorted(tags):
        at = f"{where}{tag}"
        if tag not in left or tag not in right:
            yield f"{at} only in {'what was sent' if tag in left else 'what came back'}"
            continue
        raw = left.get_item(tag), right.get_item(tag)
        kinds = [getattr(item, "VR", None) for item in raw]
        values = [getattr(item, "value", None) for item in raw]
        if isinstance(values[0], bytes) and values[0] == values[1] and kinds[0] == kinds[1]:
            continue
        try:
            one, other = left[tag], right[tag]
        except Exception as error:  # pydicom refuses some values that DICOM files do hold
            if values[0] != values[1]:
                yield f"{at}: not readable ({error}) and not the same bytes"
            continue
        if one.VR != other.VR:
            yield f"{at}: VR {one.VR} became {other.VR}"
        elif one.VR == "SQ":
            if len(one.value) != len(other.value):
                yield f"{at}: {len(one.value)} items became {len(other.value)}"
            for number, pair in enumerate(zip(one.value, other.value)):
                yield from differences(*pair, where=f"{at}[{number}].")
        elif one.value != other.value and repr(one.value) != repr(other.value):
            yield f"{at} {one.VR}: {len(values[0] or b'')} and {len(values[1] or b'')} bytes differ"


def read(source):
    return pydicom.dcmread(source, force=True)
