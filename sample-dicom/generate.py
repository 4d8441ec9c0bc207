#!/usr/bin/env python3
"""Writes the sample DICOM files of this folder, and manifest.tsv which says why each exists.

    python generate.py [--out FOLDER]

Needs the packages of scripts/requirements.txt and a CJK font (Debian: fonts-noto-cjk). Seeds,
dates and UIDs are fixed: with the same package versions the same files come out. Everything is drawn
from formulas; no file shows or names a real person.
"""

import argparse
import csv
import hashlib
import pathlib

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    JPEGBaseline8Bit,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from generator import brain, pages, radiograph, thorax, ultrasound
from generator.dicom import PATIENTS, code, image, save, series, start, uid
from generator.shapes import halve, noise

CT_SLICES, CT_SIZE, CT_STEP, CT_FIELD = 32, 256, 8.0, 370.0


class Writer:
    """Writes instances below a folder and keeps the manifest's lines."""

    def __init__(self, root):
        self.root, self.rows = root, []

    def add(self, ds, name, sop, who, why):
        save(ds, self.root / name, sop)
        data = (self.root / name).read_bytes()
        charset = ds.SpecificCharacterSet
        self.rows.append(
            dict(
                file=name,
                sha256=hashlib.sha256(data).hexdigest(),
                size=len(data),
                modality=ds.Modality,
                sop_class_uid=ds.SOPClassUID,
                transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
                charset=charset if isinstance(charset, str) else "\\".join(charset),
                photometric=ds.get("PhotometricInterpretation", ""),
                rows=ds.get("Rows", ""),
                cols=ds.get("Columns", ""),
                frames=ds.get("NumberOfFrames", ""),
                patient_id=ds.PatientID,
                patient_name_utf8=PATIENTS[who]["name"],
                study_uid=ds.StudyInstanceUID,
                series_uid=ds.SeriesInstanceUID,
                sop_uid=sop,
                why=why,
            )
        )

    def finish(self):
        with open(self.root / "manifest.tsv", "w", encoding="utf-8", newline="") as out:
            table = csv.DictWriter(out, self.rows[0].keys(), delimiter="\t", lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
        size = sum(r["size"] for r in self.rows)
        print(f"{len(self.rows)} files, {size / 1e6:.1f} MB, in {self.root}")


def ct_volume():
    """The CT series in HU, top slice first, each slice an average over its thickness."""
    n = CT_SIZE * 2
    axis = (np.arange(n) + 0.5) * CT_FIELD / n - CT_FIELD / 2
    x, y = axis[None, :], axis[:, None] + 14
    flesh = noise(11, (CT_SLICES, CT_SIZE, CT_SIZE), (0.8, 2.2, 2.2))
    volume = []
    for k in range(CT_SLICES):
        z = 2.0 + k * CT_STEP
        hu = sum(thorax.slice_hu(x, y, z + d) for d in (-2.7, 0.0, 2.7)) / 3.0
        thorax.table(hu, x, y)
        hu = halve(hu)
        soft = np.clip(1 - np.abs(hu - 20) / 220, 0, 1)
        grain = noise([12, k], (CT_SIZE, CT_SIZE), (0.75, 0.75))
        centre = np.exp(-((axis[::2, None] / 150) ** 2 + (axis[None, ::2] / 170) ** 2))
        volume.append(hu + flesh[k] * 9 * soft + grain * (7 + 11 * centre))
    return np.array(volume)


def write_ct(out, volume):
    """A chest CT of 32 slices, the study a new user opens first."""
    pitch = CT_FIELD / CT_SIZE
    sops = []
    for k, hu in enumerate(volume):
        ds = start("zhang", "ct", CTImageStorage, "CT", "20250214", "093015", "胸部CT增强 Chest CT", "QL25021401")
        series(ds, "ct", 2, "胸部 8.0mm 标准", "20250214", "093215", "CHEST")
        ds.ProtocolName = "Chest routine"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.AcquisitionDate = ds.ContentDate = "20250214"
        ds.AcquisitionTime, ds.ContentTime = "093216", "0932%02d" % (18 + k)
        ds.AcquisitionNumber, ds.InstanceNumber = 1, k + 1
        ds.PatientPosition = "HFS"
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uid("frame", "ct"), ""
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        corner = round(-CT_FIELD / 2 + pitch / 2, 4)
        ds.ImagePositionPatient = [corner, round(corner + 14, 4), round(-120.0 - k * CT_STEP, 1)]
        ds.SliceLocation = round(-120.0 - k * CT_STEP, 1)
        ds.SliceThickness, ds.SpacingBetweenSlices = CT_STEP, CT_STEP
        ds.PixelSpacing = [round(pitch, 6)] * 2
        ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.Exposure = 120, 220, 500, 110
        ds.ConvolutionKernel, ds.GantryDetectorTilt = "STANDARD", 0
        ds.DataCollectionDiameter, ds.ReconstructionDiameter = 500, int(CT_FIELD)
        ds.TableHeight, ds.RotationDirection = 140, "CW"
        ds.ContrastBolusAgent, ds.ContrastBolusRoute = "Iodine", "IV"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
        image(ds, np.clip(np.round(hu + 1024), 0, 4095).astype("<u2"), "MONOCHROME2", 12,
              ([50, -600], [400, 1500]))
        ds.WindowCenterWidthExplanation = ["MEDIASTINUM", "LUNG"]
        sops.append(uid("ct", k))
        out.add(ds, f"ct-chest/{k + 1:03d}.dcm", sops[-1], "zhang",
                "CT series in GB18030: stacks, MPR, rescale to HU, two windows, a Chinese name")
    return sops


def write_capture(out, volume):
    """The result page of a post-processing station, in the CT study."""
    ds = start("zhang", "ct", SecondaryCaptureImageStorage, "CT", "20250214", "093015", "胸部CT增强 Chest CT", "QL25021401")
    series(ds, "sc", 901, "肺结节分析", "20250214", "101230", "CHEST")
    ds.ConversionType, ds.ImageType = "WSD", ["DERIVED", "SECONDARY"]
    ds.InstanceNumber, ds.PatientOrientation, ds.BurnedInAnnotation = 1, "", "NO"
    ds.ContentDate, ds.ContentTime = "20250214", "101230"
    at = int(round((thorax.NODULE[2] - 2.0) / CT_STEP))
    crop = slice(24, 234)
    coronal_row = int((thorax.NODULE[1] - 14 + CT_FIELD / 2) / CT_FIELD * CT_SIZE)
    down = np.linspace(0, CT_SLICES - 1, 6 * CT_SLICES)
    above = np.minimum(down.astype(int), CT_SLICES - 2)
    part = (down - above)[:, None]
    coronal = volume[above, coronal_row] * (1 - part) + volume[above + 1, coronal_row] * part
    page = pages.result_page(
        pages.window(volume[at][crop, 5:251], -600, 1500),
        pages.window(volume[at][crop, 5:251], 50, 400),
        pages.window(coronal[:, 5:251], -600, 1500),
    )
    image(ds, page, "RGB", 8)
    out.add(ds, "sc-result/001.dcm", uid("sc"), "zhang", "Secondary capture in RGB: a screen, not a slice; colour must survive")


def write_report(out, sops):
    """A basic text report on the CT, in another character set than the images of its study."""
    ds = start("zhang", "ct", BasicTextSRStorage, "SR", "20250214", "093015", "胸部CT增强 Chest CT", "QL25021401",
               charset="ISO_IR 192")
    series(ds, "sr", 902, "影像报告 Report", "20250214", "111000")
    ds.ReferencedPerformedProcedureStepSequence = Sequence([])
    ds.InstanceNumber, ds.ContentDate, ds.ContentTime = 1, "20250214", "111000"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.PerformedProcedureCodeSequence = Sequence([])
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = code("18748-4", "LN", "Diagnostic imaging report")
    study, member, evidence = Dataset(), Dataset(), Dataset()
    key = sops[int(round((thorax.NODULE[2] - 2.0) / CT_STEP))]
    evidence.ReferencedSOPClassUID, evidence.ReferencedSOPInstanceUID = CTImageStorage, key
    member.SeriesInstanceUID, member.ReferencedSOPSequence = uid("series", "ct"), Sequence([evidence])
    study.StudyInstanceUID, study.ReferencedSeriesSequence = ds.StudyInstanceUID, Sequence([member])
    ds.CurrentRequestedProcedureEvidenceSequence = Sequence([study])

    def section(value, meaning, *items):
        node = Dataset()
        node.RelationshipType, node.ValueType, node.ContinuityOfContent = "CONTAINS", "CONTAINER", "SEPARATE"
        node.ConceptNameCodeSequence, node.ContentSequence = code(value, "LN", meaning), Sequence(items)
        return node

    def text(value, meaning, words):
        node = Dataset()
        node.RelationshipType, node.ValueType = "CONTAINS", "TEXT"
        node.ConceptNameCodeSequence, node.TextValue = code(value, "DCM", meaning), words
        return node

    shown, ref = Dataset(), Dataset()
    shown.RelationshipType, shown.ValueType = "CONTAINS", "IMAGE"
    ref.ReferencedSOPClassUID, ref.ReferencedSOPInstanceUID = CTImageStorage, key
    shown.ReferencedSOPSequence = Sequence([ref])
    ds.ContentSequence = Sequence([
        section("59776-5", "Procedure findings",
                text("121071", "Finding", "右肺上叶见一枚实性结节，大小约16×15 mm，边缘可见毛刺。余肺野清晰。"),
                text("121071", "Finding", "A solid nodule of 16 x 15 mm with spicules in the right upper lobe. "
                                          "Both lungs are otherwise clear; heart and great vessels are normal."),
                shown),
        section("19005-8", "Imaging impression",
                text("121077", "Conclusion", "右肺上叶实性结节，建议进一步检查。 Solid nodule of the right upper lobe; "
                                             "further assessment is advised.")),
    ])
    out.add(ds, "sr-report/001.dcm", uid("sr"), "zhang",
            "Basic text SR in UTF-8 beside GB18030 images of one study: no pixels, one patient in two character sets")


def write_mr(out):
    """A T1 head of a patient with a Japanese name."""
    stack = brain.slices()
    for k, pixels in enumerate(stack):
        ds = start("yamada", "mr", MRImageStorage, "MR", "20250120", "141005", "頭部MRI", "QL25012001")
        series(ds, "mr", 3, "T1 横断", "20250120", "141530", "HEAD")
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.AcquisitionDate = ds.ContentDate = "20250120"
        ds.AcquisitionTime = ds.ContentTime = "141532"
        ds.AcquisitionNumber, ds.InstanceNumber, ds.PatientPosition = 1, k + 1, "HFS"
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uid("frame", "mr"), ""
        half = round(-(brain.SIZE - 1) * brain.PITCH / 2, 3)
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [half, half, round(brain.FIRST_Z + k * brain.SPACING, 1)]
        ds.SliceLocation = round(brain.FIRST_Z + k * brain.SPACING, 1)
        ds.PixelSpacing = [brain.PITCH] * 2
        ds.SliceThickness, ds.SpacingBetweenSlices = 6.0, brain.SPACING
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "SK", ""
        ds.MRAcquisitionType, ds.SequenceName = "2D", "se2d1"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength, ds.FlipAngle = 500, 12, 1, 90
        ds.MagneticFieldStrength, ds.ImagedNucleus, ds.NumberOfAverages = 1.5, "1H", 1
        image(ds, pixels, "MONOCHROME2", 12, (370, 760))
        out.add(ds, f"mr-brain/{k + 1:03d}.dcm", uid("mr", k), "yamada",
                "MR series in ISO 2022 IR 87: three name groups with escape sequences, no rescale")


def write_dx(out):
    """A chest film as MONOCHROME1; returns its grey picture for the report."""
    pixels = radiograph.chest()
    ds = start("li", "dx", DigitalXRayImageStorageForPresentation, "DX", "20250318", "150210", "胸部正位 Chest PA", "QL25031801")
    series(ds, "dx", 1, "胸部正位 PA", "20250318", "150212", "CHEST")
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.InstanceNumber, ds.AcquisitionNumber = 1, 1
    ds.AcquisitionDate = ds.ContentDate = "20250318"
    ds.AcquisitionTime = ds.ContentTime = "150211"
    ds.AnatomicRegionSequence = code("51185008", "SCT", "Chest")
    ds.ImageLaterality, ds.PatientOrientation = "U", ["L", "F"]
    ds.ViewPosition = "PA"
    ds.ViewCodeSequence = code("399348003", "SCT", "postero-anterior")
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence([])
    ds.ImagerPixelSpacing = ds.PixelSpacing = [radiograph.PITCH] * 2
    ds.PixelSpacingCalibrationType = "GEOMETRY"
    ds.PixelSpacingCalibrationDescription = "Simulated rays"
    ds.DetectorType, ds.KVP, ds.PositionerType = "DIRECT", 125, ""
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape = "INVERSE"
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
    ds.AcquisitionContextSequence = Sequence([])
    image(ds, pixels, "MONOCHROME1", 12, (2048, 4096))
    out.add(ds, "dx-chest/001.dcm", uid("dx"), "li", "Chest film in MONOCHROME1 and UTF-8: must be inverted to look right")
    return ((4095 - pixels) / 16).astype(np.uint8)


def write_us(out):
    """A beating heart of 30 JPEG frames."""
    frames = [ultrasound.jpeg(p) for p in ultrasound.pictures()]
    ds = start("mueller", "us", UltrasoundMultiFrameImageStorage, "US", "20250227", "082040", "Echokardiographie", "QL25022701")
    series(ds, "us", 1, "Vierkammerblick", "20250227", "082101", "HEART")
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.InstanceNumber, ds.PatientOrientation = 1, ""
    ds.ContentDate, ds.ContentTime = "20250227", "082101"
    ds.AcquisitionDateTime = "20250227082101"
    ds.NumberOfFrames, ds.FrameTime = len(frames), ultrasound.FRAME_MS
    ds.FrameIncrementPointer = 0x00181063
    ds.RecommendedDisplayFrameRate, ds.CineRate, ds.HeartRate = 30, 30, 75
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    ds.Rows, ds.Columns = ultrasound.HEIGHT, ultrasound.WIDTH
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "01"
    ratio = ultrasound.WIDTH * ultrasound.HEIGHT * 3 * len(frames) / sum(map(len, frames))
    ds.LossyImageCompressionRatio, ds.LossyImageCompressionMethod = round(ratio, 2), "ISO_10918_1"
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 2
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 50, 26
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 590, 426
    region.ReferencePixelX0, region.ReferencePixelY0 = 270, 0
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = ultrasound.DEPTH_CM / ultrasound.DEPTH
    ds.SequenceOfUltrasoundRegions = Sequence([region])
    ds.PixelData = encapsulate(frames, has_bot=True)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    out.add(ds, "us-heart/001.dcm", uid("us"), "mueller",
            "Ultrasound cine of JPEG frames with an offset table, colour YBR, name in Latin-1")


def write_pdf(out, film):
    """The report on the chest film, as the PDF a hospital system sends."""
    ds = start("li", "dx", EncapsulatedPDFStorage, "DOC", "20250318", "150210", "胸部正位 Chest PA", "QL25031801")
    series(ds, "pdf", 2, "报告 Report", "20250318", "154200")
    ds.ConversionType, ds.InstanceNumber, ds.BurnedInAnnotation = "WSD", 1, "YES"
    ds.ContentDate, ds.ContentTime, ds.AcquisitionDateTime = "20250318", "154200", "20250318150211"
    ds.DocumentTitle = "影像诊断报告 Radiology report"
    ds.ConceptNameCodeSequence = code("18748-4", "LN", "Diagnostic imaging report")
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data = pages.pdf_report(film)
    ds.EncapsulatedDocumentLength = len(data)
    ds.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    out.add(ds, "pdf-report/001.dcm", uid("pdf"), "li", "Encapsulated PDF: a document without pixels, served as bulk data or rendered")


def main():
    """Writes everything."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    out = Writer(options.parse_args().out)
    volume = ct_volume()
    sops = write_ct(out, volume)
    write_capture(out, volume)
    write_report(out, sops)
    write_mr(out)
    film = write_dx(out)
    write_pdf(out, film)
    write_us(out)
    out.finish()


if __name__ == "__main__":
    main()
