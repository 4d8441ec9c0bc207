"""C-GET by pynetdicom: every level, what arrives, in which syntax, what is counted, and a cancel.
`CORPUS-FILE SOP-CLASS SOP-INSTANCE` is a compressed object that the node has."""

import sys

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelGet as PATIENT,
    StudyRootQueryRetrieveInformationModelGet as STUDY,
)

from common import PORT, TITLE

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
got = []


def store(event):
    got.append((str(event.request.AffectedSOPInstanceUID), str(event.context.transfer_syntax),
                event.request.DataSet.getvalue()))
    return statuses.pop(0) if statuses else 0x0000


statuses = []


def associate(contexts, role=True):
    ae = AE(ae_title="GETTER")
    ae.add_requested_context(PATIENT)
    ae.add_requested_context(STUDY)
    for sop_class, syntaxes in contexts:
        ae.add_requested_context(sop_class, syntaxes)
    roles = [build_role(sop_class, scp_role=True) for sop_class in {c for c, _ in contexts} if role]
    association = ae.associate("127.0.0.1", PORT, ae_title=TITLE, ext_neg=roles,
                               evt_handlers=[(evt.EVT_C_STORE, store)])
    assert association.is_established
    return association


def get(association, model, level, **keys):
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    got.clear()
    last, data = None, None
    for status, data in association.send_c_get(identifier, model):
        last = status
    return last, data


study, series, instances, patient = sys.argv[1], sys.argv[2], sys.argv[3].split(","), sys.argv[4]
association = associate([(CT, [EXPLICIT])])
for model, level, keys in [
    (PATIENT, "PATIENT", {"PatientID": patient}),
    (STUDY, "STUDY", {"StudyInstanceUID": study}),
    (STUDY, "SERIES", {"StudyInstanceUID": study, "SeriesInstanceUID": series}),
    (STUDY, "IMAGE", {"StudyInstanceUID": study, "SeriesInstanceUID": series,
                      "SOPInstanceUID": instances}),
]:
    status, _ = get(association, model, level, **keys)
    assert status.Status == 0, (level, hex(status.Status))
    assert status.NumberOfCompletedSuboperations == len(instances), (level, status)
    assert sorted(uid for uid, _, _ in got) == sorted(instances), level
    assert len({bytes for _, _, bytes in got}) == len(instances)
status, _ = get(association, STUDY, "IMAGE", SOPInstanceUID=instances[0])
assert status.Status == 0 and len(got) == 1, status
status, _ = get(association, STUDY, "STUDY", StudyInstanceUID="1.2.3.4.5")
assert status.Status == 0 and not got, status
for level, keys in [("STUDY", {}), ("NONSENSE", {"StudyInstanceUID": study}),
                    ("PATIENT", {"PatientID": patient})]:
    status, _ = get(association, STUDY, level, **keys)
    assert status.Status == 0xA900, (level, hex(status.Status))
# What the peer refuses is counted and named.
statuses[:] = [0xA700]
status, data = get(association, STUDY, "STUDY", StudyInstanceUID=study)
assert status.Status == 0xB000, hex(status.Status)
assert (status.NumberOfFailedSuboperations, status.NumberOfCompletedSuboperations) == (1, len(instances) - 1)
assert data.FailedSOPInstanceUIDList == got[0][0], data
association.release()

# Without a context to send on, everything fails at once and nothing hangs.
association = associate([("1.2.840.10008.5.1.4.1.1.4", [EXPLICIT])])
status, data = get(association, STUDY, "STUDY", StudyInstanceUID=study)
assert status.Status == 0xA702 and len(data.FailedSOPInstanceUIDList) == len(instances), status
association.release()

# A peer that forgot role selection is told so.
association = associate([(CT, [EXPLICIT])], role=False)
status, _ = get(association, STUDY, "STUDY", StudyInstanceUID=study)
assert status.Status == 0xA702 and "role selection" in status.ErrorComment, status
association.release()

# A compressed object: as it is stored where that is proposed, else unpacked.
sop_class, sop_instance, syntax = sys.argv[5:8]
for proposed, expected in [([(sop_class, [EXPLICIT])], EXPLICIT),
                           ([(sop_class, [EXPLICIT]), (sop_class, [syntax])], syntax)]:
    association = associate(proposed)
    status, _ = get(association, STUDY, "IMAGE", SOPInstanceUID=sop_instance)
    assert status.Status == 0, (proposed, hex(status.Status))
    assert [s for _, s, _ in got] == [expected], (proposed, got[0][1])
    association.release()
print("C-GET")
