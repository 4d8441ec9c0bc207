"""An order system and a modality: HL7 over MLLP, modality worklist, performed step, storage. One command each."""

import copy
import json
import socket
import sys

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import (
    CTImageStorage,
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
)

from common import PORT, TITLE


def mllp(port, message):
    """Sends one message and returns the answer's segments."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\x0b" + message + b"\x1c\x0d")
        answer = b""
        while not answer.endswith(b"\x1c\x0d"):
            part = connection.recv(4096)
            assert part, "hung up without an answer"
            answer += part
    return answer.strip(b"\x0b\x1c\x0d").decode("utf-8").split("\r")


def send(port, path, encoding):
    with open(path, encoding="utf-8") as file:
        text = file.read().strip().replace("\n", "\r")
    print("\n".join(mllp(int(port), text.encode(encoding))))


def association(context, title="CT1"):
    ae = AE(ae_title=title)
    ae.add_requested_context(context)
    assoc = ae.associate("127.0.0.1", PORT, ae_title=TITLE)
    assert assoc.is_established
    return assoc


def asked(charset):
    query = Dataset()
    if charset:
        query.SpecificCharacterSet = charset
    query.PatientName = ""
    query.PatientID = ""
    query.AccessionNumber = ""
    query.StudyInstanceUID = ""
    query.RequestedProcedureID = ""
    query.RequestedProcedureDescription = ""
    query.RequestedProcedureCodeSequence = []
    step = Dataset()
    step.ScheduledStationAETitle = "CT1"
    step.Modality = "CT"
    step.ScheduledProcedureStepStartDate = "20261123-20261124"
    step.ScheduledProcedureStepStartTime = ""
    step.ScheduledProcedureStepID = ""
    step.ScheduledPerformingPhysicianName = ""
    query.ScheduledProcedureStepSequence = [step]
    return query


def worklist(name=None, charset=""):
    query = asked(charset)
    if name:
        query.PatientName = name
    assoc = association(ModalityWorklistInformationFind)
    found = []
    for status, item in assoc.send_c_find(query, ModalityWorklistInformationFind):
        assert status.Status in (0xFF00, 0), hex(status.Status)
        if item is not None:
            found.append(item)
    assoc.release()
    return found


def show(charset, name=None):
    rows = [
        {
            "charset": str(item.get("SpecificCharacterSet", "")),
            "name": str(item.PatientName),
            "id": item.PatientID,
            "accession": item.AccessionNumber,
            "study": item.StudyInstanceUID,
            "step": item.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID,
            "keys": sorted(element.keyword for element in item.ScheduledProcedureStepSequence[0]),
            "code": item.RequestedProcedureCodeSequence[0].CodeValue,
        }
        for item in worklist(name, charset)
    ]
    print(json.dumps(rows))


def perform():
    """Does everything that a modality may, and some that it may not; prints the statuses."""
    item = worklist()[0]
    scheduled = item.ScheduledProcedureStepSequence[0]
    create = Dataset()
    create.SpecificCharacterSet = "ISO_IR 192"
    reference = Dataset()
    reference.StudyInstanceUID = item.StudyInstanceUID
    reference.AccessionNumber = item.AccessionNumber
    reference.RequestedProcedureID = item.RequestedProcedureID
    reference.ScheduledProcedureStepID = scheduled.ScheduledProcedureStepID
    create.ScheduledStepAttributesSequence = [reference]
    create.PatientName = item.PatientName
    create.PatientID = item.PatientID
    create.PerformedProcedureStepID = "PPS1"
    create.PerformedStationAETitle = "CT1"
    create.PerformedProcedureStepStartDate = "20261123"
    create.PerformedProcedureStepStartTime = "093500"
    create.PerformedProcedureStepStatus = "IN PROGRESS"
    create.Modality = "CT"
    create.PerformedSeriesSequence = []
    uid, series = generate_uid(), generate_uid()
    assoc = association(ModalityPerformedProcedureStep)
    kind = ModalityPerformedProcedureStep
    statuses = []

    def note(status):
        statuses.append(f"{status.Status:04X}" + (f"/{status.ErrorID:04X}" if "ErrorID" in status else ""))

    for change in (
        lambda data: delattr(data, "PerformedStationAETitle"),
        lambda data: setattr(data, "PerformedProcedureStepID", ""),
        lambda data: setattr(data, "PerformedProcedureStepStatus", "COMPLETED"),
    ):
        wrong = copy.deepcopy(create)
        change(wrong)
        note(assoc.send_n_create(wrong, kind, uid)[0])
    note(assoc.send_n_create(create, kind, uid)[0])
    note(assoc.send_n_create(create, kind, uid)[0])
    change = Dataset()
    change.PerformedProcedureStepStatus = "COMPLETED"
    note(assoc.send_n_set(change, kind, uid)[0])
    change.PerformedProcedureStepEndDate = "20261123"
    change.PerformedProcedureStepEndTime = "094000"
    performed = Dataset()
    performed.SeriesInstanceUID = series
    performed.ProtocolName = "Chest"
    change.PerformedSeriesSequence = [performed]
    note(assoc.send_n_set(change, kind, generate_uid())[0])
    note(assoc.send_n_set(change, kind, uid)[0])
    note(assoc.send_n_set(change, kind, uid)[0])
    assoc.release()
    print(json.dumps({"statuses": statuses, "study": item.StudyInstanceUID, "series": series}))


def store(study, series, name, patient, accession):
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID = study
    image.SeriesInstanceUID = series
    image.PatientName = name
    image.PatientID = patient
    image.AccessionNumber = accession
    image.Modality = "CT"
    image.StudyDate = "20261123"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assoc = association(CTImageStorage)
    status = assoc.send_c_store(image)
    assoc.release()
    assert status.Status == 0, status


def stations(station, modality=""):
    """Accession numbers and stations of what a station is offered."""
    query = asked("")
    step = query.ScheduledProcedureStepSequence[0]
    step.ScheduledStationAETitle = station
    step.Modality = modality
    assoc = association(ModalityWorklistInformationFind)
    found = []
    for status, item in assoc.send_c_find(query, ModalityWorklistInformationFind):
        if item is not None:
            step = item.ScheduledProcedureStepSequence[0]
            found.append([item.AccessionNumber, step.ScheduledStationAETitle])
    assoc.release()
    print(json.dumps(found))


def many(count):
    """Status and comment for a query with so many stations."""
    query = asked("")
    query.ScheduledProcedureStepSequence[0].ScheduledStationAETitle = [f"S{n}" for n in range(int(count))]
    assoc = association(ModalityWorklistInformationFind)
    for status, _ in assoc.send_c_find(query, ModalityWorklistInformationFind):
        print(json.dumps([f"{status.Status:04X}", str(status.get("ErrorComment", ""))]))
    assoc.release()


def steal():
    """What another modality is told that ends a performed step, and then its own."""
    create = Dataset()
    reference = Dataset()
    reference.StudyInstanceUID = generate_uid()
    create.ScheduledStepAttributesSequence = [reference]
    create.PerformedProcedureStepID = "PPS2"
    create.PerformedStationAETitle = "CT1"
    create.PerformedProcedureStepStartDate = "20261123"
    create.PerformedProcedureStepStartTime = "093500"
    create.PerformedProcedureStepStatus = "IN PROGRESS"
    create.Modality = "CT"
    kind, uid = ModalityPerformedProcedureStep, generate_uid()
    assoc = association(kind)
    statuses = [assoc.send_n_create(create, kind, uid)[0].Status]
    change = Dataset()
    change.PerformedProcedureStepStatus = "DISCONTINUED"
    change.PerformedProcedureStepEndDate = "20261123"
    change.PerformedProcedureStepEndTime = "094000"
    other = association(kind, "CT2")
    statuses.append(other.send_n_set(change, kind, uid)[0].Status)
    other.release()
    statuses.append(assoc.send_n_set(change, kind, uid)[0].Status)
    assoc.release()
    print(json.dumps([f"{status:04X}" for status in statuses]))


COMMANDS = {
    "send": send,
    "worklist": show,
    "perform": perform,
    "store": store,
    "stations": stations,
    "many": many,
    "steal": steal,
}
COMMANDS[sys.argv[1]](*sys.argv[2:])
