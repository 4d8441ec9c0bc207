"""pynetdicom shows a user identity (PS3.7 D.3.3.7) and stores: KIND PRIMARY SECONDARY [until]; 0 for none.

With "until" it goes on until it is refused, for a minute at most, and says what it was told.
"""

import sys
import time

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from common import PORT, TITLE


def instance():
    data_set = Dataset()
    data_set.SOPClassUID = CTImageStorage
    data_set.SOPInstanceUID = generate_uid()
    data_set.StudyInstanceUID = generate_uid()
    data_set.SeriesInstanceUID = generate_uid()
    data_set.PatientID = "P-1"
    data_set.Modality = "CT"
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data_set


def main():
    kind, primary, secondary = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3].encode()
    shown = []
    if kind:
        identity = UserIdentityNegotiation()
        identity.user_identity_type = kind
        identity.positive_response_requested = True
        # An empty name is not sent by this library, but a space is.
        identity.primary_field = primary or b" "
        if secondary:
            identity.secondary_field = secondary
        shown = [identity]
    ae = AE(ae_title="PYNETDICOM")
    ae.requested_contexts = [build_context(CTImageStorage, ExplicitVRLittleEndian)]
    # On a loaded machine this library sometimes gives up before it has seen the answer.
    for _ in range(3):
        association = ae.associate("127.0.0.1", PORT, ae_title=TITLE, ext_neg=shown)
        if association.is_established or association.is_rejected:
            break
    if association.is_rejected:
        answer = association.acceptor.primitive
        print("rejected", answer.result, answer.result_source, answer.diagnostic)
        return
    assert association.is_established, "no association"
    answered = association.acceptor.user_information
    answered = any(type(item).__name__ == "UserIdentityNegotiation" for item in answered)
    status = association.send_c_store(instance())
    print("stored", f"{status.Status:04X}", "answered" if answered else "unanswered")
    if sys.argv[4:] == ["until"]:
        end = time.monotonic() + 60
        while status.Status == 0 and time.monotonic() < end:
            time.sleep(0.3)
            status = association.send_c_store(instance())
        print("then", f"{status.Status:04X}")
    association.release()


if __name__ == "__main__":
    main()
