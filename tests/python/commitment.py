"""Storage commitment by pynetdicom: the report on the same association, on a new one, and what is
refused. `PORT` is where this script listens as COMMITSCU."""

import sys
import time

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel as COMMIT

from common import PORT, TITLE

INSTANCE = "1.2.840.10008.1.20.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
reports = []


def on_report(event):
    reports.append((event.event_type, event.event_information, event.assoc.requestor.ae_title))
    return 0x0000, None


def request(transaction, references):
    data = Dataset()
    data.TransactionUID = transaction
    items = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = instance
        items.append(item)
    data.ReferencedSOPSequence = Sequence(items)
    return data


def wait_for(transaction, seconds):
    end = time.time() + seconds
    while time.time() < end:
        for kind, data, who in reports:
            if data.TransactionUID == transaction:
                return kind, data, who
        time.sleep(0.05)
    raise AssertionError("no report came")


def associate():
    ae = AE(ae_title="COMMITSCU")
    ae.add_requested_context(COMMIT)
    association = ae.associate("127.0.0.1", PORT, ae_title=TITLE,
                               evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)])
    assert association.is_established
    return association


stored = sys.argv[2].split(",")
here = [(CT, uid) for uid in stored]

# On the same association, which stays.
association = associate()
transaction = generate_uid()
status, _ = association.send_n_action(request(transaction, here), 1, COMMIT, INSTANCE)
assert status.Status == 0, hex(status.Status)
kind, data, _ = wait_for(transaction, 15)
assert kind == 1 and len(data.ReferencedSOPSequence) == len(here), data
assert {item.ReferencedSOPInstanceUID for item in data.ReferencedSOPSequence} == set(stored)
assert "FailedSOPSequence" not in data and data.RetrieveAETitle == TITLE

# What is not here, and what is of another class.
transaction = generate_uid()
wrong = here[:1] + [(CT, generate_uid()), ("1.2.840.10008.5.1.4.1.1.4", stored[1])]
status, _ = association.send_n_action(request(transaction, wrong), 1, COMMIT, INSTANCE)
assert status.Status == 0, hex(status.Status)
kind, data, _ = wait_for(transaction, 15)
assert kind == 2 and len(data.ReferencedSOPSequence) == 1, data
assert [item.FailureReason for item in data.FailedSOPSequence] == [0x0112, 0x0119], data

# What makes no sense is refused at once.
nothing = Dataset()
nothing.TransactionUID = generate_uid()
for data, action, instance, expected in [
    (nothing, 1, INSTANCE, 0x0115),
    (request("not a UID", here), 1, INSTANCE, 0x0115),
    (request(generate_uid(), here), 7, INSTANCE, 0x0123),
    (request(generate_uid(), here), 1, "1.2.3", 0x0112),
]:
    status, _ = association.send_n_action(data, action, COMMIT, instance)
    assert status.Status == expected, (hex(status.Status), hex(expected))
association.release()

# A modality that leaves at once is called back where it is registered.
server = AE(ae_title="COMMITSCU")
server.add_supported_context(COMMIT, scu_role=True, scp_role=True)
listening = server.start_server(("127.0.0.1", int(sys.argv[1])), block=False,
                                evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)])


def no_report(event):
    # It is not taken on the association that asked.
    return 0x0110, None


ae = AE(ae_title="COMMITSCU")
ae.add_requested_context(COMMIT)
association = ae.associate("127.0.0.1", PORT, ae_title=TITLE,
                           evt_handlers=[(evt.EVT_N_EVENT_REPORT, no_report)])
transaction = generate_uid()
status, _ = association.send_n_action(request(transaction, here), 1, COMMIT, INSTANCE)
assert status.Status == 0, hex(status.Status)
association.release()
kind, data, who = wait_for(transaction, 60)
assert kind == 1 and who == TITLE, (kind, who)
listening.shutdown()
print(f"{len(reports)} reports")
