"""Workitems made by pydicom: created, found, worked on and read back with another implementation's
idea of DICOM JSON and of the Native DICOM Model."""

import json
import xml.etree.ElementTree as ElementTree

import requests
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from common import DICOMWEB

JSON = {"Content-Type": "application/dicom+json", "Accept": "application/dicom+json"}
NATIVE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def workitem():
    ds = Dataset()
    ds.ProcedureStepState = "SCHEDULED"
    ds.ScheduledProcedureStepPriority = "MEDIUM"
    ds.ProcedureStepLabel = "阅片 CT 头部"
    ds.WorklistLabel = "reading"
    ds.ScheduledProcedureStepStartDateTime = "20240305120000+0800"
    ds.InputReadinessState = "READY"
    ds.PatientName = "Wang^XiaoDong=王^小东"
    ds.PatientID = "P-77"
    ds.PatientBirthDate = "19700131"
    ds.PatientSex = "M"
    ds.ScheduledWorkitemCodeSequence = [code("110005", "DCM", "Interpretation")]
    ds.ScheduledStationNameCodeSequence = [code("READER1", "99QL", "Reading room 1")]
    ds.CommentsOnTheScheduledProcedureStep = "urgent\nsecond line"
    parameter = Dataset()
    parameter.ValueType = "NUMERIC"
    parameter.ConceptNameCodeSequence = [code("1", "99QL", "Threshold")]
    parameter.NumericValue = "0.5"
    ds.ScheduledProcessingParametersSequence = [parameter]
    for keyword in (
        "ScheduledStationClassCodeSequence",
        "ScheduledStationGeographicLocationCodeSequence",
        "InputInformationSequence",
        "IssuerOfAdmissionIDSequence",
        "AdmittingDiagnosesCodeSequence",
        "ReferencedRequestSequence",
    ):
        setattr(ds, keyword, [])
    ds.AdmissionID = ""
    ds.AdmittingDiagnosesDescription = ""
    return ds


def send(method, path, data=None, expected=200, **parameters):
    answer = requests.request(
        method,
        DICOMWEB + path,
        data=None if data is None else data.to_json(),
        headers=JSON,
        params=parameters or None,
        timeout=30,
    )
    assert answer.status_code == expected, (path, answer.status_code, answer.text)
    return answer


def read(uid):
    (one,) = send("GET", f"/workitems/{uid}").json()
    return Dataset.from_json(json.dumps(one))


def state(word, transaction):
    ds = Dataset()
    ds.ProcedureStepState, ds.TransactionUID = word, transaction
    return ds


def main():
    uid, transaction = generate_uid(), generate_uid()
    sent = workitem()
    answer = send("POST", f"/workitems?{uid}", sent, 201)
    assert "Warning" not in answer.headers, answer.headers
    assert answer.headers["Content-Location"].endswith(f"/workitems/{uid}")
    kept = read(uid)
    for element in sent:
        assert kept[element.tag] == element, (kept.get(element.tag), element)
    assert kept.SOPInstanceUID == uid

    found = send(
        "GET",
        "/workitems",
        PatientName="王*",
        ScheduledProcedureStepStartDateTime="20240305040000-20240305040000",
        **{"ScheduledStationNameCodeSequence.CodeValue": "READER1"},
    ).json()
    assert [row["00080018"]["Value"] for row in found] == [[uid]], found

    send("PUT", f"/workitems/{uid}/state", state("IN PROGRESS", transaction))
    done = Dataset()
    performed = Dataset()
    performed.PerformedStationNameCodeSequence = [code("READER1", "99QL", "Reading room 1")]
    performed.PerformedWorkitemCodeSequence = [code("110005", "DCM", "Interpretation")]
    performed.PerformedProcedureStepStartDateTime = "20240305121000"
    performed.PerformedProcedureStepEndDateTime = "20240305122000"
    performed.OutputInformationSequence = []
    done.UnifiedProcedureStepPerformedProcedureSequence = [performed]
    send("POST", f"/workitems/{uid}?transaction-uid={transaction}", done)
    send("PUT", f"/workitems/{uid}/state", state("COMPLETED", transaction))
    kept = read(uid)
    assert kept.ProcedureStepState == "COMPLETED"
    assert kept.UnifiedProcedureStepPerformedProcedureSequence[0] == performed
    assert "TransactionUID" not in kept

    native = requests.get(
        f"{DICOMWEB}/workitems/{uid}", headers={"Accept": "application/dicom+xml"}, timeout=30
    )
    tree = ElementTree.fromstring(native.content)
    label = tree.find(f"{NATIVE}DicomAttribute[@keyword='ProcedureStepLabel']/{NATIVE}Value")
    if label is None:
        label = tree.find("DicomAttribute[@keyword='ProcedureStepLabel']/Value")
    assert label.text == sent.ProcedureStepLabel, native.text
    print("a workitem of pydicom was created, found, claimed, completed and read back")


main()
