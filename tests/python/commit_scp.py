"""A storage and storage commitment SCP (pynetdicom). What it answers to an N-ACTION stands in the file "mode" of the
folder that is its argument; what it was asked and sent, it writes there."""

import sys
import threading
import time
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

FOLDER = Path(sys.argv[1])
TITLE = "COMMITSCP"
INSTANCE = "1.2.840.10008.1.20.1.1"
lock = threading.Lock()


def note(name, line):
    with lock, open(FOLDER / name, "a") as file:
        file.write(line + "\n")


def wait_for(name):
    for _ in range(1200):
        if (FOLDER / name).exists():
            return
        time.sleep(0.1)


def answer(asked, fail):
    report = Dataset()
    report.TransactionUID = asked.TransactionUID
    kept, lost = [], []
    for index, item in enumerate(asked.ReferencedSOPSequence):
        one = Dataset()
        one.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        one.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
        if fail and index == 0:
            one.FailureReason = 0x0112
            lost.append(one)
        else:
            kept.append(one)
    if kept:
        report.ReferencedSOPSequence = kept
    if lost:
        report.FailedSOPSequence = lost
    return report, 2 if lost else 1


def call(title, report, kind):
    """Reports on an association of our own, as whoever has this title."""
    ae = AE(title)
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    port = int((FOLDER / "port").read_text())
    assoc = ae.associate("127.0.0.1", port, ae_title="QIANLI", ext_neg=[role])
    if not assoc.is_established:
        return -1
    status, _ = assoc.send_n_event_report(report, kind, StorageCommitmentPushModel, INSTANCE)
    assoc.release()
    return status.Status if "Status" in status else -1


def work(assoc, asked, mode):
    fail = mode == "fail-always" or (mode == "fail-once" and not (FOLDER / "failed").exists())
    if fail:
        note("failed", "yes")
    report, kind = answer(asked, fail)
    if mode == "never":
        return
    if mode == "hold":
        wait_for("go")
        note("status", f"OTHER {call('OTHER', report, kind):04X}")
        note("status", f"{TITLE} {call(TITLE, report, kind):04X}")
        note("status", f"AGAIN {call(TITLE, report, kind):04X}")
    elif mode == "new":
        time.sleep(0.5)
        note("status", f"{TITLE} {call(TITLE, report, kind):04X}")
    else:
        time.sleep(0.2)
        assoc.send_n_event_report(report, kind, StorageCommitmentPushModel, INSTANCE)


def on_action(event):
    asked = event.action_information
    mode = (FOLDER / "mode").read_text().strip()
    note("asked", f"{asked.TransactionUID} {len(asked.ReferencedSOPSequence)}")
    threading.Thread(target=work, args=(event.assoc, asked, mode), daemon=True).start()
    return 0x0000, None


def on_store(event):
    note("stored", event.request.AffectedSOPInstanceUID)
    return 0x0000


ae = AE(TITLE)
ae.supported_contexts = StoragePresentationContexts[:120]
ae.add_supported_context(Verification)
ae.add_supported_context(StorageCommitmentPushModel)
handlers = [(evt.EVT_N_ACTION, on_action), (evt.EVT_C_STORE, on_store)]
server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
print(server.socket.getsockname()[1], flush=True)
sys.stdin.read()
