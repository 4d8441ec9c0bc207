"""Asks the node to move a study to this very script: originators, retries, failures, progress, cancel.

Arguments: the port to receive on, a Study Instance UID, and one of its SOP Instance UIDs to refuse.
"""

import sys
import threading
import time

from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move

from common import PORT, TITLE

port, study, bad = int(sys.argv[1]), sys.argv[2], sys.argv[3]
lock = threading.Lock()
seen = []
tries = {}
mode = "plain"


def store(event):
    request = event.request
    uid = str(request.AffectedSOPInstanceUID)
    with lock:
        tries[uid] = tries.get(uid, 0) + 1
        seen.append((uid, request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
    if mode == "busy" and tries[uid] == 1:
        return 0xA700
    if mode == "refuse" and uid == bad:
        return 0xA900
    if mode == "slow":
        time.sleep(5)
    if mode == "steady":
        time.sleep(0.7)
    return 0x0000


receiver = AE(ae_title="WORKSTATION")
for context in StoragePresentationContexts:
    receiver.add_supported_context(context.abstract_syntax)
receiver.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])


def move(message_id, cancel_after=None):
    """Moves and returns the final status, its identifier and when which pending response came."""
    seen.clear()
    tries.clear()
    ae = AE(ae_title="MOVER")
    ae.dimse_timeout = 60
    ae.add_requested_context(Move)
    association = ae.associate("127.0.0.1", PORT, ae_title=TITLE)
    assert association.is_established
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = study
    pending = [(time.monotonic(), None)]
    for status, answer in association.send_c_move(identifier, "WORKSTATION", Move, msg_id=message_id):
        if status.Status in (0xFF00, 0xFF01):
            pending.append((time.monotonic(), status))
            if cancel_after is not None and len(pending) == cancel_after + 1:
                association.send_c_cancel(message_id, query_model=Move)
        else:
            association.release()
            return status, answer, pending
    raise AssertionError("no final response")


final, _, _ = move(77)
assert final.Status == 0x0000, final
assert final.NumberOfCompletedSuboperations == 8, final
assert len(seen) == 8
assert all(str(title).strip() == "MOVER" and number == 77 for _, title, number in seen), seen
print("originators are told")

mode = "busy"
final, _, _ = move(78)
assert final.Status == 0x0000, final
assert all(count == 2 for count in tries.values()) and len(tries) == 8, tries
print("what had no room is sent again")

mode = "refuse"
final, failed, _ = move(79)
assert final.Status == 0xB000, final
assert (final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (7, 1), final
assert failed.FailedSOPInstanceUIDList == bad, failed
assert tries[bad] == 1, "a refusal for good is not repeated"
print("failures are listed")

mode = "slow"
final, _, pending = move(80, cancel_after=3)
times = [when for when, _ in pending]
gaps = [later - earlier for earlier, later in zip(times, times[1:])]
assert gaps and max(gaps) <= 2, gaps
assert final.Status == 0xFE00, final
assert final.NumberOfRemainingSuboperations == 8, final
print("one slow object: pending every", round(max(gaps), 2), "s at most; cancelled inside of it")

mode = "steady"
started = time.monotonic()
final, _, pending = move(81, cancel_after=3)
assert final.Status == 0xFE00, final
counts = [status.NumberOfRemainingSuboperations for _, status in pending[1:]]
assert counts == sorted(counts, reverse=True), counts
done = final.NumberOfCompletedSuboperations + final.NumberOfRemainingSuboperations
assert done == 8 and final.NumberOfRemainingSuboperations > 0, final
print("cancelled after", round(time.monotonic() - started, 2), "s with", final.NumberOfRemainingSuboperations, "left")
