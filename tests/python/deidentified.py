"""Searches de-identified files for what identified the originals.

Arguments: a file of pairs (original, tab, output, one pair a line), and "all" or the names of
categories to leave out, joined by commas. Every byte of every output is searched, in every encoding
that the original's text could have; short words and dates outside of pixel data only, where they are
no accident. A hit is a coincidence when it lies inside of a code, a number or a dummy of the output;
those are printed. Also: pydicom reads every output, pixels are what they were, and DCMTK or dicom3tools
find no more errors than before, where installed.
"""

import re
import shutil
import subprocess
import sys

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID

ENCODINGS = [
    "utf-8", "gb18030", "latin-1", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6",
    "iso8859-7", "iso8859-8", "iso8859-9", "tis-620", "shift_jis", "euc_jp", "iso2022_jp",
    "iso2022_jp_2", "euc_kr", "iso2022_kr",
]
IDS = {
    "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "DeviceSerialNumber",
    "AdmissionID", "RequestedProcedureID", "ScheduledProcedureStepID", "PerformedProcedureStepID",
    "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "ClinicalTrialSubjectID", "PatientAddress", "PatientTelephoneNumbers",
}
PLACES = {"InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName"}
# Classes, syntaxes and vocabularies, also private ones.
CLASSES = {
    "SOPClassUID", "ReferencedSOPClassUID", "MediaStorageSOPClassUID", "TransferSyntaxUID",
    "CodingSchemeUID", "ContextUID", "MappingResourceUID", "RelatedGeneralSOPClassUID",
    "OriginalSpecializedSOPClassUID", "SOPClassesInStudy", "ImplementationClassUID",
}
WORD = rb"A-Za-z0-9"


def values(element):
    value = element.value
    if value is None:
        return []
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return [v for v in value if v is not None]
    return [value]


def identifiers(data_set, found, raw):
    """Collects (category, text) and the bytes of values as they are encoded."""
    for tag in list(data_set.keys()):
        stored = data_set.get_item(tag)
        bytes_ = stored.value if isinstance(getattr(stored, "value", None), bytes) else b""
        try:
            element = data_set[tag]
        except Exception:
            continue
        if element.VR == "SQ":
            # Private sequences go as a whole. Read with pydicom's dictionary of them, names turn up
            # that others cannot see: "Achieva" as the creator of something made by an Achieva.
            for item in (element.value or []) if not tag.is_private else []:
                identifiers(item, found, raw)
            continue
        keyword = keyword_for_tag(tag)
        category = None
        if element.VR == "PN":
            category = "name"
            for value in values(element):
                for part in re.split(r"[\^=\\ ,]", str(value)):
                    found.add(("name", part))
            for part in re.split(rb"[\^=\\ ]", bytes_):
                raw.add(("name", part))
        elif keyword in IDS or keyword in PLACES:
            category = "id" if keyword in IDS else "place"
            for value in values(element):
                found.add((category, str(value).strip()))
            raw.add((category, bytes_.strip(b" \0")))
        elif element.VR in ("DA", "DT"):
            for value in values(element):
                text = str(value).replace(".", "")[:8]
                if re.fullmatch(r"(19|20)\d{6}", text):
                    found.add(("date", text))
        elif element.VR == "UI" and keyword not in CLASSES:
            for value in values(element):
                text = str(value)
                if not text.startswith("1.2.840.10008.") and "." in text and len(text) > 6:
                    found.add(("uid", text))


def patterns(found, raw, skipped):
    for category, text in sorted(found):
        text = text.strip()
        if category in skipped or len(text) < 3:
            continue
        # Numbers that stand everywhere.
        if category in ("id", "place") and len(text) < 4:
            continue
        for encoding in ENCODINGS:
            try:
                encoded = text.encode(encoding)
            except UnicodeError:
                continue
            yield category, encoded
            if text.isascii():
                break
    for category, value in sorted(raw):
        if category not in skipped and len(value) > 3 and not value.isascii():
            yield category, value


def search(category, pattern, header, whole, header_lower, whole_lower):
    """Whether an output holds a pattern; the last two are the same in lower case."""
    if category == "uid":
        bounded = rb"(?<![0-9.])" + re.escape(pattern) + rb"(?![0-9.])"
        return pattern in whole and re.search(bounded, whole) is not None
    if category == "date":
        return re.search(rb"(?<![0-9.])" + pattern, header) is not None
    if not pattern.isascii():
        return pattern in (whole if len(pattern) > 5 else header)
    lower = pattern.lower()
    if len(pattern) >= 5:
        return lower in (whole_lower if len(pattern) > 6 else header_lower)
    bounded = rb"(?<![" + WORD + rb"])" + re.escape(lower) + rb"(?![" + WORD + rb"])"
    return lower in header_lower and re.search(bounded, header_lower) is not None


def innocent(data_set):
    """Codes, numbers and dummies of an output, encoded, the longest first."""
    found = set()
    for element in data_set.iterall():
        if element.VR in ("CS", "DS", "IS", "AS", "TM", "UI"):
            text = str(element.value) if not isinstance(element.value, pydicom.multival.MultiValue) \
                else "\\".join(str(value) for value in element.value)
            if element.VR != "UI" or text.startswith("2.25."):
                found.add(text.encode("latin-1", "replace"))
    found |= {b"ANONYMIZED", b"Anonymized", b"19000101000000", b"19000101",
              b"Retain Patient Characteristics Option"}
    return sorted((text for text in found if len(text) > 2), key=len, reverse=True)


def without_innocent(content, texts):
    for text in texts:
        content = content.replace(text, b"\0")
    return content


def without_pixels(data_set, content):
    """The file's bytes but those of its pixel data."""
    stored = data_set.get_item(0x7FE00010) if 0x7FE00010 in data_set else None
    value = getattr(stored, "value", None)
    if not isinstance(value, bytes) or len(value) < 64:
        return content
    at = content.find(value[:4096])
    if at < 0:
        # Encapsulated: pixel data is last but for padding.
        at = content.rfind(b"\xe0\x7f\x10\x00")
        return content[:at] if at > 0 else content
    return content[:at] + content[at + len(value):]


def read(path):
    return pydicom.dcmread(path, force=True)


def pixels(data_set):
    try:
        return data_set.pixel_array.astype("<i8").tobytes()
    except Exception:
        return None


def dciodvfy(path):
    ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    lines = (ran.stdout + ran.stderr).splitlines()
    return sorted({re.sub(r"[0-9.]{12,}", "", line) for line in lines if line.startswith("Error")})


def main():
    skipped = set() if sys.argv[2] == "all" else set(sys.argv[2].split(","))
    pairs = [line.split("\t") for line in open(sys.argv[1], encoding="utf-8").read().splitlines()]
    coincidences = set()
    wrong, searched, compared, errors_before, errors_after, worse = [], 0, 0, 0, 0, []
    for original_path, output_path in pairs:
        original = read(original_path)
        found, raw = set(), set()
        identifiers(original, found, raw)
        meta = getattr(original, "file_meta", None)
        if meta is not None and "MediaStorageSOPInstanceUID" in meta:
            found.add(("uid", str(meta.MediaStorageSOPInstanceUID)))
        with open(output_path, "rb") as file:
            whole = file.read()
        output = read(output_path)
        header = without_pixels(output, whole)
        if output.get("PatientIdentityRemoved") != "YES":
            wrong.append(f"{output_path}: does not say that identity was removed")
        if output.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1.99":
            # What is deflated cannot be searched as it lies.
            inflated = pydicom.filebase.DicomBytesIO()
            output.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
            output.save_as(inflated, enforce_file_format=False)
            whole = header = inflated.getvalue()
            output = read(output_path)
        lower, cut = (header.lower(), whole.lower()), None
        for category, pattern in patterns(found, raw, skipped):
            searched += 1
            if search(category, pattern, header, whole, *lower):
                if cut is None:
                    texts = innocent(output)
                    cut = without_innocent(header, texts), without_innocent(whole, texts)
                    cut += cut[0].lower(), cut[1].lower()
                if search(category, pattern, *cut):
                    wrong.append(f"{original_path} -> {output_path}: {category} {pattern!r} is there")
                else:
                    coincidences.add((category, pattern))
        # Every element can be read.
        for element in output.iterall():
            str(element.value)[:10]
        if "PixelData" in original and "PixelData" in output:
            same_syntax = original.file_meta.get("TransferSyntaxUID") == read(output_path).file_meta.TransferSyntaxUID
            if same_syntax:
                compared += 1
                # Odd lengths get the padding that they lacked.
                padded = original.PixelData.ljust(len(output.PixelData), b"\0") == output.PixelData
                if not padded and pixels(original) != pixels(output):
                    wrong.append(f"{output_path}: other pixel data than {original_path}")
            else:
                before, after = pixels(original), pixels(read(output_path))
                if before is not None:
                    compared += 1
                    if before != after:
                        wrong.append(f"{output_path}: other pixels than {original_path}")
        elif "PixelData" in original:
            wrong.append(f"{output_path}: pixel data is gone")
        if shutil.which("dciodvfy"):
            before, after = dciodvfy(original_path), dciodvfy(output_path)
            errors_before += len(before)
            errors_after += len(after)
            new = [line for line in after if line not in before]
            if new:
                worse.append((output_path, original_path, new))
    print(f"{len(pairs)} files, {searched} searches, pixels of {compared} compared")
    print(f"coincidences: {sorted(coincidences)}")
    print(f"dciodvfy: {errors_before} kinds of errors before, {errors_after} after; "
          f"{len(worse)} files have one that they had not")
    counts = {}
    for _, _, new in worse:
        for line in new:
            counts[line] = counts.get(line, 0) + 1
    for line, count in sorted(counts.items(), key=lambda pair: -pair[1])[:40]:
        print(f"  {count} x {line}")
    print("\n".join(wrong[:200]))
    sys.exit(1 if wrong else 0)


main()
