"""What all samples share: patients, stable identifiers, the common modules, and writing files."""

import hashlib

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

# Invented people. Each name is written in another character set.
PATIENTS = {
    "zhang": dict(charset="GB18030", name="ZHANG^WEI=张^伟", id="QL-0001", birth="19680923", sex="M", age="056Y"),
    "li": dict(charset="ISO_IR 192", name="LI^XIAOHONG=李^小红", id="QL-0002", birth="19790412", sex="F", age="045Y"),
    "yamada": dict(charset=["", "ISO 2022 IR 87"], name="YAMADA^TAROU=山田^太郎=やまだ^たろう", id="QL-0003",
                   birth="19550106", sex="M", age="070Y"),
    "mueller": dict(charset="ISO_IR 100", name="MÜLLER^JÜRGEN", id="QL-0004", birth="19610730", sex="M", age="063Y"),
}


def uid(*parts):
    """A UUID-derived UID (PS3.5 B.2) that depends on `parts` alone."""
    digest = hashlib.sha256(("qianli sample|" + "|".join(map(str, parts))).encode()).digest()
    return "2.25.%d" % int.from_bytes(digest[:16], "big")


def code(value, scheme, meaning):
    """A coded entry as a one-item sequence (PS3.3 section 8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def start(who, study, sop_class, modality, date, time, description, accession, charset=None):
    """A data set with the patient, study and equipment modules, and SOP common (PS3.3 C.7, C.12)."""
    person = PATIENTS[who]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.file_meta.ImplementationClassUID = uid("implementation")
    ds.file_meta.ImplementationVersionName = "QIANLI_SAMPLES"
    ds.SpecificCharacterSet = charset or person["charset"]
    ds.SOPClassUID = sop_class
    ds.PatientName, ds.PatientID = person["name"], person["id"]
    ds.IssuerOfPatientID = "QIANLI-DEMO"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = person["birth"], person["sex"], person["age"]
    ds.StudyInstanceUID = uid("study", study)
    ds.StudyDate, ds.StudyTime, ds.StudyID = date, time, accession[-6:]
    ds.AccessionNumber, ds.StudyDescription = accession, description
    ds.ReferringPhysicianName = ""
    ds.Modality = modality
    ds.Manufacturer, ds.ManufacturerModelName = "Qianli", "Sample generator"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0", "1"
    ds.InstitutionName = "Qianli Demo Hospital"
    ds.StationName = "DEMO" + modality
    ds.InstanceCreationDate, ds.InstanceCreationTime = date, time
    return ds


def series(ds, key, number, description, date, time, body_part=None):
    """The general series module (PS3.3 C.7.3.1)."""
    ds.SeriesInstanceUID = uid("series", key)
    ds.SeriesNumber, ds.SeriesDescription = number, description
    ds.SeriesDate, ds.SeriesTime = date, time
    if body_part:
        ds.BodyPartExamined = body_part


def image(ds, pixels, photometric, bits, window=None):
    """The image pixel module for native pixels (PS3.3 C.7.6.3)."""
    colour = pixels.ndim == 3
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = photometric
    if colour:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    if window:
        ds.WindowCenter, ds.WindowWidth = window
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated == 16 else "OB"


def save(ds, path, sop):
    """Gives the instance its UID and writes the Part 10 file."""
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = sop
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return ds
