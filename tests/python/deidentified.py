"""Searches de-identified files for what identified the originals.

Argument: a file of pairs (original, tab, output, one pair a line). Every value that identifies (names by their
components, IDs, places, dates, UIDs; from three bytes on) is searched for in every byte of the output, in every
encoding that it could have had, in upper and lower case, and also inside of longer words. A hit in pixel data is no
text of ours if the original has the same bytes at the same place of its pixel data: such are counted. Any other hit
fails, unless exactly this value in this tag of this study is in COINCIDENCES, with the reason. No UID of any
original may be in any output. Also: pydicom reads every output, pixels are what they were, and dicom3tools find no
more errors than before, where installed.
"""

import bisect
import re
import shutil
import subprocess
import sys

import element_spans
import pydicom
from pydicom.datadict import keyword_for_tag

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
# (value, studies, tags, why it is no leak). The value is of the original, the tag of the output.
DUMMY = "the original was anonymized by somebody with the word, or the date, that our profile puts too"
GEOMETRY = "00180050 00180080 00180081 00180082 00180087 00180088 00180093 00180094 00181314 00200037 00281052"
COINCIDENCES = [
    (b"00000", "1.3.6.1.4.1.5962.1.2.5.20031208063649.855 1.3.6.1.4.1.5962.1.2.5.20040826185059.5457"
     " 1.3.6.1.4.1.5962.1.2.7.20031208063649.855 1.3.6.1.4.1.5962.1.2.7.20040826185059.5457",
     GEOMETRY + " 00080013 00080031",
     "an ID of zeros, and zeros after the point of measurements, or of the dummy for times"),
    (b"0010", "1.3.6.1.4.1.5962.1.2.10.1166562673.14401", "00080012 00080021 00080023",
     "an ID, and the inside of the dummy for dates, 19000101"),
    (b"123456", "1.2.826.0.1.3680043.2.1125.1.38642757998921184026476030292472423"
     " 1.2.826.0.1.3680043.2.1125.1.99615878007501689887866317012655114", "00200011",
     "a made-up ID, which is the made-up Series Number too; that one stays"),
    (b"154", "2.16.840.1.113662.5.8796818449476.121423489.1", "00080014",
     "an ID of three digits, among the 39 of a pseudonym that the fixed key of the test gives"),
    (b"428", "1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.427", "00020003 00080018",
     "an ID of three digits, among the 39 of a pseudonym that the fixed key of the test gives"),
    (b"19000101", "1.2.246.10.22143774.10001678204403125.12554.10629 1.2.276.0.50.192168001092.11156604.14547392.4"
     " 1.2.3.4.5.6 1.2.840.113681.1.99.2994400 1.3.46.670589.11.7002.6.158206250000028522",
     "00080012 00080021 00080023 00081111/00080012", DUMMY),
    (b"anonymized", "1.2.392.200036.9125.0.199302241758.16 1.2.840.113619.2.1.1.322987881.621.736170080.681"
     " 1.2.840.113619.2.21.848.246800003.0.1952805748.3 1.3.46.670589.11.0.1.1996021610440011"
     " 2.16.840.1.113662.5.8796818449476.121423489.1 999.999.2.19941105.112000 999.999.2.19941105.134500"
     " 999.999.2.19960619.163000", "00080080 00081010 00181030 00181400", DUMMY),
    (b"iso", "2.25.160509457700264495263816172992251265013", "00080005 300A0180/300A01B0",
     "part of a name, and ISO_IR 100, ISOCENTRIC"),
    (b"lut", "1.2.276.0.7230010.3.200.1 1.2.276.0.7230010.3.200.2", "00204000",
     "the patient of a test image is called after its look-up table, as its comment is"),
    (b"mary", "1.2.840.113696.376376.500.49780135.20200410105155", "00080008", "Mary, and PRIMARY"),
    (b"mrt", "1.2.276.0.50.192168001092.11156604.14547392.4",
     "00081030 00081032/00080104 00321060 00400254 00400260/00080104 00400275/00400007"
     " 00400275/00400008/00080104 00400280", "a place called MRT, German for the modality, as the procedure is"),
    (b"name", "1.2.276.0.7230010.3.1.2.1787205428.166.1117461927.5", "0040A730/0040A040", "a code: PNAME"),
    (b"patient", "1.2.826.0.1.3680043.10.511.3.11998601772218931473771592560209750"
     " 1.2.826.0.1.3680043.10.511.3.23315552601753135490905014338118048"
     " 1.2.826.0.1.3680043.9.7433.3.82970457260936734119270346325882945", "00120064/00080104",
     "a patient named Patient, and the name of an option of the profile"),
    (b"perfusion", "1.3.6.1.4.1.5962.1.2.10.1166562673.14401", "00080008 52009229/00189329/00089007",
     "a patient called after the kind of image"),
    (b"pre", "1.22.333.4.555555.6.7777777777777777777777777777", "300C0002/300A0055", "a code: PREDECESSOR"),
    (b"removed", "1.3.6.1.4.1.14519.5.2.1.7009.2401.219951169878334856059814306522"
     " 1.3.6.1.4.1.14519.5.2.1.9823.1001.108958069993282969141944803554", "00280303",
     "a name that somebody removed, and our word for removed times"),
    (b"synth", "1.2.826.0.1.3680043.10.1459.2025907703448729937675786493", "00080008", "a code: TOMOSYNTHESIS"),
    (b"text", "1.2.276.0.7230010.3.1.2.1787205428.166.1117461927.5",
     "0040A730/0040A010 0040A730/0040A040 0040A730/0040A043/00080104 0040A730/0040A730/0040A040",
     "codes: TEXT, HAS OBS CONTEXT, Observation Context Mode"),
]


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


def patterns(found, raw):
    """Category and bytes of everything to search for, in lower case: text in each encoding it could have had, and
    the bytes that it had. Shorter than three bytes nothing identifies."""
    wanted = set()
    for category, text in found:
        text = text.strip()
        for encoding in ENCODINGS:
            try:
                wanted.add((category, text.encode(encoding).lower()))
            except UnicodeError:
                continue
            if text.isascii():
                break
    wanted |= {(category, value.lower()) for category, value in raw}
    return sorted((category, value) for category, value in wanted if len(value) >= 3)


class Places:
    """Where in a file something lies."""

    def __init__(self, content):
        self.spans = element_spans.spans(content)
        self.begins = [span[0] for span in self.spans]
        pixels = [span for span in self.spans if span[2] == "7FE00010"]
        # With the headers of items between fragments.
        self.pixels = (pixels[0][0], pixels[-1][1]) if pixels else None

    def in_pixels(self, begin, end):
        return self.pixels is not None and self.pixels[0] <= begin and end <= self.pixels[1]

    def tag(self, begin):
        at = bisect.bisect_right(self.begins, begin) - 1
        inside = at >= 0 and begin < self.spans[at][1]
        return self.spans[at][2] if inside else "between values"


def occurrences(pattern, content):
    at = content.find(pattern)
    while at >= 0:
        yield at
        at = content.find(pattern, at + 1)


def allowed(value, study, tag):
    """Whether a hit is one of those that were looked at, and are explained in COINCIDENCES."""
    for expected, studies, tags, _ in COINCIDENCES:
        if value == expected and study in studies.split() and tag in tags.split():
            used.add((expected, study, tag))
            return True
    return False


used = set()


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
    pairs = [line.split("\t") for line in open(sys.argv[1], encoding="utf-8").read().splitlines()]
    wrong, searched, in_pixels, elsewhere = [], 0, 0, 0
    compared, errors_before, errors_after, worse = 0, 0, 0, []
    uids, contents = set(), []
    for original_path, output_path in pairs:
        original = read(original_path)
        found, raw = set(), set()
        identifiers(original, found, raw)
        meta = getattr(original, "file_meta", None)
        if meta is not None and "MediaStorageSOPInstanceUID" in meta:
            found.add(("uid", str(meta.MediaStorageSOPInstanceUID)))
        uids |= {text for category, text in found if category == "uid"}
        with open(original_path, "rb") as file:
            before = element_spans.inflated(file.read())
        with open(output_path, "rb") as file:
            after = element_spans.inflated(file.read())
        output = read(output_path)
        if output.get("PatientIdentityRemoved") != "YES":
            wrong.append(f"{output_path}: does not say that identity was removed")
        old, new = Places(before), Places(after)
        lower = after.lower()
        contents.append((output_path, lower))
        for category, pattern in patterns(found, raw):
            searched += 1
            for at in occurrences(pattern, lower):
                end = at + len(pattern)
                if new.in_pixels(at, end):
                    there = old.pixels[0] - new.pixels[0]
                    if before[at + there:end + there] != after[at:end]:
                        wrong.append(f"{original_path} -> {output_path}: {category} {pattern!r} in pixel data")
                    in_pixels += 1
                elif allowed(pattern, str(original.StudyInstanceUID), new.tag(at)):
                    elsewhere += 1
                else:
                    where = new.tag(at)
                    wrong.append(f"{original_path} -> {output_path}: {category} {pattern!r} in {where}")
        # Every element can be read.
        for element in output.iterall():
            str(element.value)[:10]
        compared += compare_pixels(original, original_path, output_path, wrong)
        if shutil.which("dciodvfy"):
            earlier, later = dciodvfy(original_path), dciodvfy(output_path)
            errors_before += len(earlier)
            errors_after += len(later)
            added = [line for line in later if line not in earlier]
            if added:
                worse.append((output_path, original_path, added))
    for path, lower in contents:
        for text in {text.decode("ascii") for text in re.findall(rb"[0-9]+(?:\.[0-9]+){3,}", lower)} & uids:
            wrong.append(f"{path}: a UID of some original is there: {text}")
    print(f"{len(pairs)} files, {sum(len(lower) for _, lower in contents)} bytes, {searched} values searched, "
          f"and {len(uids)} UIDs in all of them")
    print(f"{in_pixels} hits are pixels of the original, {elsewhere} are explained ({len(used)} entries)")
    print(f"pixels of {compared} compared")
    print(f"dciodvfy: {errors_before} kinds of errors before, {errors_after} after; "
          f"{len(worse)} files have one that they had not")
    counts = {}
    for _, _, added in worse:
        for line in added:
            counts[line] = counts.get(line, 0) + 1
    for line, count in sorted(counts.items(), key=lambda pair: -pair[1])[:40]:
        print(f"  {count} x {line}")
    print("\n".join(wrong[:200]))
    sys.exit(1 if wrong else 0)


def compare_pixels(original, original_path, output_path, wrong):
    """Says where pixels are others than before; how many files could be compared (none or one)."""
    output = read(output_path)
    if "PixelData" not in original:
        return 0
    if "PixelData" not in output:
        wrong.append(f"{output_path}: pixel data is gone")
        return 0
    if original.file_meta.get("TransferSyntaxUID") == output.file_meta.TransferSyntaxUID:
        # Odd lengths get the padding that they lacked.
        padded = original.PixelData.ljust(len(output.PixelData), b"\0") == output.PixelData
        if not padded and pixels(original) != pixels(output):
            wrong.append(f"{output_path}: other pixel data than {original_path}")
        return 1
    before, after = pixels(original), pixels(output)
    if before is None:
        return 0
    if before != after:
        wrong.append(f"{output_path}: other pixels than {original_path}")
    return 1


main()
