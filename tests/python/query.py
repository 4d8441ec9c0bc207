"""C-FIND by pynetdicom: every name of the corpus in its own character set and in UTF-8, every level and
model, and the keys that servers get wrong. `names CORPUS`, `levels` or `keys`; the node holds what the last
two ask."""

import sys

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind as PATIENT,
    PatientStudyOnlyQueryRetrieveInformationModelFind as PATIENT_STUDY,
    StudyRootQueryRetrieveInformationModelFind as STUDY,
)

from common import PORT, TITLE, manifest, store_raw

ae = AE(ae_title="QUERY")
for model in (PATIENT, STUDY, PATIENT_STUDY):
    ae.add_requested_context(model)
association = ae.associate("127.0.0.1", PORT, ae_title=TITLE)
assert association.is_established, "no association"


def ask(identifier, model=STUDY):
    """Returns the last status and every match."""
    matches, last = [], None
    for status, match in association.send_c_find(identifier, model):
        assert "Status" in status, "no answer"
        last = status
        if status.Status in (0xFF00, 0xFF01):
            matches.append((status.Status, match))
    return last.Status, matches


def keys(level, **values):
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier


def names(folder):
    rows = [row for row in manifest(folder, ("valid",)) if not row["patient_name_utf8"].isascii()]
    assert len(rows) > 20, len(rows)
    for row in rows:
        status, comment = store_raw(f"{folder}/{row['file']}", row["sop_class_uid"], row["sop_uid"])
        assert status == 0, (row["file"], status, comment)
    asked = declared_own = 0
    for row in rows:
        name, own = row["patient_name_utf8"], row["charset"].split("\\")
        groups = name.split("=")
        for charset in (own, ["ISO_IR 192"]):
            for wanted in (name, groups[-1], groups[-1].split("^")[0][:1] + "*"):
                identifier = keys("STUDY", PatientName=wanted, StudyInstanceUID="", PatientID="")
                identifier.SpecificCharacterSet = charset if len(charset) > 1 else charset[0]
                status, matches = ask(identifier)
                assert status == 0, (row["file"], charset, wanted, hex(status))
                found = [m for _, m in matches if m.StudyInstanceUID == row["study_uid"]]
                assert found, f"{row['file']}: {wanted} in {charset} found {len(matches)} others"
                (match,) = found
                told = str(match.PatientName)
                # Two files of one study may spell the same name differently.
                spelt = {r["patient_name_utf8"] for r in rows if r["study_uid"] == row["study_uid"]}
                assert told in spelt, f"{row['file']}: {told} for {name} in {charset}"
                given = match.get("SpecificCharacterSet", "")
                given = [given] if isinstance(given, str) else list(given)
                assert given in (charset, ["ISO_IR 192"]), (row["file"], given)
                declared_own += given == charset
                asked += 1
    print(f"{len(rows)} names, {asked} queries, {declared_own} answered in the set they asked in")


def levels():
    """The node holds two patients: P1 with two studies (CT and MR), P2 with one (CT)."""
    status, patients = ask(keys("PATIENT", PatientID="", PatientName="", NumberOfPatientRelatedStudies="",
                                NumberOfPatientRelatedInstances=""), PATIENT)
    told = {m.PatientID: (m.NumberOfPatientRelatedStudies, m.NumberOfPatientRelatedInstances)
            for _, m in patients}
    assert (status, told) == (0, {"P1": (2, 3), "P2": (1, 1)}), (status, told)
    assert all(m.QueryRetrieveLevel == "PATIENT" and m.RetrieveAETitle == TITLE for _, m in patients)
    status, _ = ask(keys("PATIENT", PatientID=""), STUDY)
    assert status == 0xA900, hex(status)
    for model in (PATIENT, STUDY, PATIENT_STUDY):
        status, studies = ask(keys("STUDY", PatientID="P1", StudyInstanceUID="", ModalitiesInStudy="",
                                   NumberOfStudyRelatedInstances="", StudyDescription=""), model)
        assert status == 0 and len(studies) == 2, (model, status, len(studies))
        assert sorted(m.ModalitiesInStudy for _, m in studies) == ["CT", "MR"]
    status, [(_, ct)] = ask(keys("STUDY", PatientID="P1", ModalitiesInStudy="CT", StudyInstanceUID="",
                                 NumberOfStudyRelatedInstances=""))
    assert ct.NumberOfStudyRelatedInstances == 2
    status, series = ask(keys("SERIES", StudyInstanceUID=ct.StudyInstanceUID, SeriesInstanceUID="",
                              Modality="", NumberOfSeriesRelatedInstances=""))
    assert [(m.Modality, m.NumberOfSeriesRelatedInstances) for _, m in series] == [("CT", 2)]
    status, images = ask(keys("IMAGE", StudyInstanceUID=ct.StudyInstanceUID,
                              SeriesInstanceUID=series[0][1].SeriesInstanceUID, SOPInstanceUID="",
                              InstanceNumber="", ImageType="", Rows=None))
    assert len(images) == 2 and all(m.Rows == 16 for _, m in images), images
    # Relational: no study is named.
    status, images = ask(keys("IMAGE", PatientID="P1", SOPInstanceUID="", StudyInstanceUID=""))
    assert len(images) == 3, len(images)
    both = "\\".join({m.StudyInstanceUID for _, m in images})
    status, listed = ask(keys("STUDY", StudyInstanceUID=both.split("\\"), PatientID=""))
    assert len(listed) == 2, len(listed)
    for bad in (keys("NONSENSE", PatientID=""), keys("STUDY", StudyDate="yesterday"),
                keys("STUDY", StudyInstanceUID="not a UID")):
        status, matches = ask(bad)
        assert (status, matches) == (0xA900, []), hex(status)
    print("levels and models")


def wrong():
    """Line 43: keys that do not match, sequences, private keys, no character set, what is declared."""
    # Group lengths and the time zone say how to read the identifier; they are no keys.
    identifier = keys("STUDY", PatientID="P1", StudyInstanceUID="", TimezoneOffsetFromUTC="+0900")
    identifier.add_new(0x00080000, "UL", 4)
    identifier.add_new(0x00100000, "UL", 4)
    status, matches = ask(identifier)
    assert (status, len(matches)) == (0, 2), (hex(status), len(matches))
    assert all(code == 0xFF00 for code, _ in matches)
    # A binary value cannot be compared with: it filters nothing, and the peer is told so.
    identifier = keys("IMAGE", PatientID="P1", SOPInstanceUID="")
    identifier.add_new(0x00281201, "OW", b"\1\2\3\4")
    status, matches = ask(identifier)
    assert (status, len(matches)) == (0, 3), (hex(status), len(matches))
    assert all(code == 0xFF01 for code, _ in matches), "the key was not supported"
    # A private key to be returned filters nothing.
    identifier = keys("IMAGE", PatientID="P1", SOPInstanceUID="")
    identifier.add_new(0x00091001, "LO", "")
    identifier.add_new(0x00110010, "LO", "NOBODY")
    identifier.add_new(0x00111001, "LO", "")
    status, matches = ask(identifier)
    assert (status, len(matches)) == (0, 3), (hex(status), len(matches))
    # Sequences are matched by what is inside and come back with it.
    item = Dataset()
    item.ScheduledProcedureStepID = "STEP1"
    item.RequestedProcedureID = ""
    identifier = keys("SERIES", SeriesInstanceUID="")
    identifier.RequestAttributesSequence = Sequence([item])
    status, matches = ask(identifier)
    assert (status, len(matches)) == (0, 1), (hex(status), len(matches))
    (told,) = matches[0][1].RequestAttributesSequence
    assert (told.ScheduledProcedureStepID, told.RequestedProcedureID) == ("STEP1", "RP1"), told
    assert "ScheduledProcedureStepDescription" not in told, "only what was asked for"
    empty = keys("SERIES", SeriesInstanceUID="")
    empty.RequestAttributesSequence = Sequence([])
    status, matches = ask(empty)
    assert (status, len(matches)) == (0, 3), (hex(status), len(matches))
    # Without a character set in the identifier; the answer says which it is in when it has to.
    status, matches = ask(keys("STUDY", PatientID="P2", PatientName=""))
    (_, match), = matches
    assert match.SpecificCharacterSet == "ISO_IR 192" and str(match.PatientName) == "王^五", match
    status, matches = ask(keys("STUDY", PatientID="P1", PatientName=""))
    assert all("SpecificCharacterSet" not in m for _, m in matches), "ASCII needs no declaration"
    # What is not there comes back empty, what was not asked for does not come.
    status, [(_, match)] = ask(keys("STUDY", PatientID="P2", OtherPatientNames=""))
    assert match.OtherPatientNames in ("", None) and "StudyDate" not in match
    print("keys")


if sys.argv[1] == "names":
    names(sys.argv[2])
elif sys.argv[1] == "levels":
    levels()
else:
    wrong()
association.release()
