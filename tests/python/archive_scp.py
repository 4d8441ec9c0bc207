"""An archive for C-GET, storage commitment and relational C-FIND, over the files of a folder.

Arguments: the folder, and a port. Commits everything but the first file. The report goes out on an
association to that port where somebody listens there, else on the one that asks. Prints its own port,
serves until standard input closes.
"""

import glob
import os
import sys
import threading

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind as Find,
    StudyRootQueryRetrieveInformationModelGet as Get,
    Verification,
)

folder, listener = sys.argv[1], int(sys.argv[2])
files = [dcmread(path) for path in sorted(glob.glob(os.path.join(folder, "*.dcm")))]
missing = files[0].SOPInstanceUID


def get(event):
    wanted = [one for one in files if one.StudyInstanceUID == event.identifier.StudyInstanceUID]
    yield len(wanted)
    for one in wanted:
        yield 0xFF00, one


def find(event):
    yield 0x0000, None


def report(information):
    answer = Dataset()
    answer.TransactionUID = information.TransactionUID
    there, gone = [], []
    for item in information.ReferencedSOPSequence:
        one = Dataset()
        one.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        one.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
        if item.ReferencedSOPInstanceUID == missing:
            one.FailureReason = 0x0112
            gone.append(one)
        else:
            there.append(one)
    answer.ReferencedSOPSequence = there
    if gone:
        answer.FailedSOPSequence = gone
    return answer, 2 if gone else 1


def action(event):
    information = event.action_information
    association = event.assoc

    def later():
        answer, kind = report(information)
        caller = AE(ae_title="ARCHIVE")
        caller.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        own = caller.associate("127.0.0.1", listener, ext_neg=[role])
        over = own if own.is_established else association
        over.send_n_event_report(answer, kind, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        if own.is_established:
            own.release()

    threading.Timer(0.3, later).start()
    return 0x0000, None


ae = AE(ae_title="ARCHIVE")
ae.add_supported_context(Verification)
ae.add_supported_context(Find)
ae.add_supported_context(Get)
ae.add_supported_context(StorageCommitmentPushModel)
ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
server = ae.start_server(
    ("127.0.0.1", 0),
    block=False,
    evt_handlers=[(evt.EVT_C_GET, get), (evt.EVT_C_FIND, find), (evt.EVT_N_ACTION, action)],
)
print(server.server_address[1], flush=True)
sys.stdin.read()
server.shutdown()
