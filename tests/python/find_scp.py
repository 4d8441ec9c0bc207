"""A C-FIND SCP with two studies. Prints its port, serves until standard input closes."""

import fnmatch
import sys

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

STUDIES = [("F-1", "Wang^XiaoDong=王^小东", "1.2.3.1"), ("F-2", "Smith^John", "1.2.3.2")]


def find(event):
    request = event.identifier
    for patient_id, name, study in STUDIES:
        groups = [name, *name.split("=")]
        wanted_name = str(request.get("PatientName", "") or "*")
        wanted_id = str(request.get("PatientID", "") or "*")
        if not any(fnmatch.fnmatch(group, wanted_name) for group in groups):
            continue
        if not fnmatch.fnmatch(patient_id, wanted_id):
            continue
        answer = Dataset()
        answer.SpecificCharacterSet = "ISO_IR 192"
        answer.QueryRetrieveLevel = request.QueryRetrieveLevel
        answer.PatientID = patient_id
        answer.PatientName = name
        answer.StudyInstanceUID = study
        yield 0xFF00, answer


ae = AE(ae_title="FINDSCP")
ae.require_called_aet = True
ae.add_supported_context(StudyRootFind)
server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
print(server.server_address[1], flush=True)
sys.stdin.read()
server.shutdown()
