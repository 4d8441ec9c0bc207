"""Stores what other libraries write, by STOW-RS, and reads back what was made of it.

dicomweb-client stores an instance; metadata with bulk values goes in as pydicom's own DICOM JSON, with
JPEG and PNG of Pillow and a PDF; pydicom reads the files, decodes the pixels and compares.
"""

import io
import json

import numpy
import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from common import DICOMWEB

SC = "1.2.840.10008.5.1.4.1.1.7"
session = requests.Session()
checked = 0


def instance(sop_class=SC):
    """Metadata with every kind of value that an image without pixels may have."""
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = SC, generate_uid()
    data = Dataset()
    if sop_class:
        data.SOPClassUID = sop_class
    data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientID = "STOW-1"
    data.PatientName = "Wang^XiaoDong=王^小东"
    data.Modality = "OT"
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.PixelSpacing = [0.1, 0.25]
    data.InstanceNumber = 7
    data.FrameIncrementPointer = 0x00181063
    data.ReferencedImageSequence = [item, Dataset()]
    block = data.private_block(0x0009, "QIANLI TEST", create=True)
    block.add_new(1, "UN", b"\x01\x02\x03\x04")
    block.add_new(2, "UV", 2**64 - 1)
    block.add_new(3, "FD", [1.5, -2.25])
    block.add_new(4, "UT", "a long text\nwith lines")
    return data


def store(data, parts):
    """STOW-RS of metadata and parts of (media type, name, bytes)."""
    body = b"--q\r\nContent-Type: application/dicom+json\r\n\r\n" + json.dumps([data]).encode()
    for media, name, content in parts:
        head = f"\r\n--q\r\nContent-Type: {media}\r\nContent-Location: {name}\r\n\r\n"
        body += head.encode() + content
    kind = 'multipart/related; type="application/dicom+json"; boundary=q'
    answer = session.post(DICOMWEB + "/studies", data=body + b"\r\n--q--\r\n", headers={"Content-Type": kind})
    assert answer.status_code == 200, (answer.status_code, answer.text)
    return answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]


def fetch(url):
    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    answer = session.get(url, headers=accept)
    assert answer.status_code == 200, (answer.status_code, answer.text)
    return pydicom.dcmread(io.BytesIO(answer.content))


def compare(sent, read):
    """Every attribute that was sent is there, and the same."""
    global checked
    for element in sent:
        # Private creators and their elements keep their places.
        assert element.tag in read, element
        assert read[element.tag].value == element.value, (element, read[element.tag])
        checked += 1
    assert read.SpecificCharacterSet == "ISO_IR 192"


pixels = (numpy.arange(48 * 32 * 3, dtype=numpy.uint32) * 7 % 251).astype(numpy.uint8).reshape(48, 32, 3)

# Native pixels.
data = instance()
data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
data.Rows, data.Columns = 48, 32
data.BitsAllocated = data.BitsStored = 8
data.HighBit, data.PixelRepresentation = 7, 0
metadata = data.to_json_dict()
metadata["7FE00010"] = {"vr": "OB", "BulkDataURI": "pixels"}
read = fetch(store(metadata, [("application/octet-stream", "pixels", pixels.tobytes())]))
compare(data, read)
assert read.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
assert (read.pixel_array == pixels).all()

# JPEG and PNG, which say themselves what they are; several of one name are frames.
for kind, media, count in [("JPEG", "image/jpeg", 1), ("JPEG", "image/jpeg", 3), ("PNG", "image/png", 2)]:
    files = []
    for frame in range(count):
        file = io.BytesIO()
        options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        Image.fromarray(numpy.roll(pixels, frame, axis=0)).save(file, kind, **options)
        files.append(file.getvalue())
    data = instance(sop_class=None)
    metadata = data.to_json_dict()
    metadata["7FE00010"] = {"vr": "OB", "BulkDataURI": "https://example.org/bulk/1"}
    url = store(metadata, [(media, "https://example.org/bulk/1", file) for file in files])
    read = fetch(url)
    compare(data, read)
    assert (read.Rows, read.Columns, read.SamplesPerPixel) == (48, 32, 3)
    assert read.SOPClassUID == (SC if count == 1 else "1.2.840.10008.5.1.4.1.1.7.4"), read.SOPClassUID
    frames = list(generate_frames(read.PixelData, number_of_frames=count)) if kind == "JPEG" else None
    for frame in range(count):
        if frames:
            assert frames[frame].rstrip(b"\0") == files[frame].rstrip(b"\0"), "the JPEG as it was sent"
        else:
            array = read.pixel_array[frame] if count > 1 else read.pixel_array
            assert (array == numpy.roll(pixels, frame, axis=0)).all()
    if kind == "JPEG":
        assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
        assert read.LossyImageCompression == "01"
    picture = session.get(url + "/rendered", headers={"Accept": "image/png"})
    assert picture.status_code == 200, picture.text
    width, height = Image.open(io.BytesIO(picture.content)).size
    # Its pixels are two and a half times as wide as they are high.
    assert (width, height) == (80, 48), (width, height)

# A document.
document = b"%PDF-1.4\n" + b"%" * 5001
data = instance(sop_class=None)
metadata = data.to_json_dict()
metadata["00420011"] = {"vr": "OB", "BulkDataURI": "doc"}
url = store(metadata, [("application/pdf", "doc", document)])
read = fetch(url)
compare(data, read)
assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
assert read.EncapsulatedDocument[: read.EncapsulatedDocumentLength] == document
assert session.get(url + "/rendered").content[: len(document)] == document

# A whole instance, as dicomweb-client sends it.
data = instance()
data.file_meta = FileMetaDataset()
data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
data.preamble = b"\0" * 128
answer = DICOMwebClient(DICOMWEB).store_instances([data])
assert [str(item.ReferencedSOPInstanceUID) for item in answer.ReferencedSOPSequence] == [data.SOPInstanceUID]
assert "FailedSOPSequence" not in answer
print(f"{checked} attributes came back as they were sent")
