"""A workstation of one hospital reads what another one granted to its own, over DIMSE (pynetdicom).

CALLED CALLING DESTINATION PORT STUDY/SERIES/INSTANCE...

Prints one JSON object: the studies that a query for all of them finds, and for every object given how many
answers a query has at each level, and how many objects C-GET and C-MOVE bring, with their last status.
"""

import json
import sys

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from common import PORT

CALLED, CALLING, DESTINATION, SINK = sys.argv[1:5]
FIND = StudyRootQueryRetrieveInformationModelFind
got = []


def on_store(event):
    got.append(str(event.request.AffectedSOPInstanceUID))
    return 0x0000


def keys(level, **values):
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for name, value in values.items():
        setattr(identifier, name, value)
    return identifier


def find(association, identifier, model=FIND):
    answers = list(association.send_c_find(identifier, model))
    last = answers[-1][0].Status
    return [answer for status, answer in answers if status.Status in (0xFF00, 0xFF01)], last


def retrieve(send, identifier, *more):
    got.clear()
    last = None
    for status, _ in send(identifier, *more):
        last = status
    return {"objects": len(got), "status": f"{last.Status:04X}"}


def main():
    ae = AE(ae_title=CALLING)
    for model in (FIND, PatientRootQueryRetrieveInformationModelFind,
                  StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove):
        ae.add_requested_context(model)
    ae.add_requested_context(CTImageStorage)
    ae.supported_contexts = []
    ae.add_supported_context(CTImageStorage)
    sink = AE(ae_title=DESTINATION)
    sink.add_supported_context(CTImageStorage)
    server = sink.start_server(("127.0.0.1", int(SINK)), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    association = ae.associate("127.0.0.1", PORT, ae_title=CALLED, ext_neg=[build_role(CTImageStorage, scp_role=True)],
                               evt_handlers=[(evt.EVT_C_STORE, on_store)])
    if not association.is_established:
        print(json.dumps({"rejected": association.is_rejected}))
        server.shutdown()
        return
    studies, status = find(association, keys("STUDY", StudyInstanceUID=""))
    patients, _ = find(association, keys("PATIENT", PatientID=""), PatientRootQueryRetrieveInformationModelFind)
    said = {"status": f"{status:04X}", "studies": [str(one.StudyInstanceUID) for one in studies],
            "patients": len(patients), "of": {}}
    for text in sys.argv[5:]:
        study, series, instance = text.split("/")
        all_keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance}
        by_level = [
            keys("STUDY", StudyInstanceUID=study, NumberOfStudyRelatedInstances="", PatientName=""),
            keys("SERIES", StudyInstanceUID=study, SeriesInstanceUID=series),
            keys("IMAGE", **all_keys),
        ]
        said["of"][study] = {
            "found": [len(find(association, identifier)[0]) for identifier in by_level],
            "get": [retrieve(association.send_c_get, identifier, StudyRootQueryRetrieveInformationModelGet)
                    for identifier in (by_level[0], by_level[2])],
            "move": [retrieve(association.send_c_move, identifier, DESTINATION,
                              StudyRootQueryRetrieveInformationModelMove)
                     for identifier in (by_level[0], by_level[2])],
        }
    association.release()
    server.shutdown()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
