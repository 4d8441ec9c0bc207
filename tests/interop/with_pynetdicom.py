"""Cells with pynetdicom: its applications, and storage commitment, worklist and MPPS by its library."""

import threading

import pydicom
import pynetdicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep as Mpps,
    ModalityWorklistInformationFind as WorklistFind,
    StorageCommitmentPushModel as Commitment,
)

from harness import (AET, CALLS_US, IS_CALLED, Missing, answers, arrived, cell, eventually, expect, explained,
                     free_port, order, tail, value)

PEER = "pynetdicom"
COMMITTED = "1.2.840.10008.1.20.1.1"


def version(_):
    return f"pynetdicom {pynetdicom.__version__} with pydicom {pydicom.__version__}"


def start(bench):
    """Its servers; the archive only where SQLAlchemy is installed."""
    for title in ("PYECHO", "PYSTORE", "PYQR"):
        bench.areas[title] = bench.place(title.lower())
    app = [bench.python, "-m", "pynetdicom"]
    bench.start([*app, "echoscp", bench.port("PYECHO"), "-aet", "PYECHO"], "echoscp", bench.port("PYECHO"))
    bench.start([*app, "storescp", bench.port("PYSTORE"), "-aet", "PYSTORE", "-od", bench.areas["PYSTORE"]],
                "pystorescp", bench.port("PYSTORE"))
    try:
        import sqlalchemy  # noqa: F401
    except ImportError:
        bench.has_archive = False
        return
    bench.has_archive = True
    config = bench.folder / "qrscp.ini"
    config.write_text(f"""[DEFAULT]
ae_title: PYQR
port: {bench.port("PYQR")}
max_pdu: 16382
acse_timeout: 30
dimse_timeout: 30
network_timeout: 30
bind_address: 127.0.0.1
instance_location: {bench.areas["PYQR"]}
database_location: {bench.folder / "qrscp.sqlite"}
log_identifier: True
[{AET}]
address: 127.0.0.1
port: {bench.dimse}
""")
    bench.start([*app, "qrscp", "-c", config, "-v"], "qrscp", bench.port("PYQR"))


def titles():
    return ["PYECHO", "PYSTORE", "PYQR", "PYMOVE", "PYCOMMIT"]


def tool(bench, name, *arguments, title=AET, port=None, rest=(), cwd=None):
    command = [bench.python, "-m", "pynetdicom", name, "127.0.0.1", port or bench.dimse, *rest, "-aec", title, "-v"]
    return bench.run([*command, *arguments], cwd=cwd)


def keys(*wanted):
    return [part for key in wanted for part in ("-k", key)]


# It calls us.


@cell(PEER, CALLS_US, "C-ECHO", "echoscu")
def echoscu(bench):
    said = tool(bench, "echoscu")
    expect("Received Echo Response (Status: 0x0000 - Success)" in said, tail(said))
    return "Success"


@cell(PEER, CALLS_US, "C-STORE", "storescu")
def storescu(bench):
    study = bench.study()
    tool(bench, "storescu", "-r", rest=[study.folder])
    film = bench.with_jpeg()
    tool(bench, "storescu", "-r", "-cx", rest=[film.folder])
    return f"{bench.here(study)}; with `-cx` (contexts of the files) and JPEG: {bench.here(film)}"


def found(bench, model, *wanted):
    folder = bench.place("answers")
    said = tool(bench, "findscu", model, "-w", *keys(*wanted), cwd=folder)
    return [pydicom.dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))], said


@cell(PEER, CALLS_US, "C-FIND", "findscu -P, -S, -O")
def findscu(bench):
    study = bench.keep(bench.study("mr-brain/001.dcm", "mr-brain/002.dcm", "mr-brain/003.dcm", "sr-report/001.dcm"))
    seen = []
    for model, level, expected in (("-P", "PATIENT", 1), ("-P", "SERIES", 2), ("-S", "STUDY", 1), ("-S", "SERIES", 2),
                                   ("-S", "IMAGE", 3), ("-O", "STUDY", 1)):
        wanted = [f"QueryRetrieveLevel={level}", f"PatientID={study.patient}", "PatientName=YAMADA*"]
        wanted += [] if level == "PATIENT" else [f"StudyInstanceUID={study.uid}"]
        wanted += [] if level != "SERIES" else ["SeriesInstanceUID="]
        wanted += [] if level != "IMAGE" else [f"SeriesInstanceUID={study.objects[0].series}", "SOPInstanceUID="]
        got, said = found(bench, model, *wanted)
        expect(len(got) == expected, f"{model} {level}: {len(got)} answers, not {expected}: {tail(said)}")
        expect(str(got[0].PatientName) == study.name, f"{model} {level}: {got[0].PatientName}")
        seen.append(f"{model} {level} {expected}")
    return f"{', '.join(seen)}; the name {study.name}"


@cell(PEER, CALLS_US, "Worklist", "findscu -W")
def worklist_app(bench):
    order(bench, "PYNET1", "CTPY")
    step = "ScheduledProcedureStepSequence[0]"
    got, said = found(bench, "-W", "AccessionNumber=", "PatientName=LI*", f"{step}.ScheduledStationAETitle=CTPY",
                      f"{step}.Modality=CT", f"{step}.ScheduledProcedureStepID=")
    expect(len(got) == 1 and got[0].AccessionNumber == "PYNET1", tail(said))
    expect(got[0].ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "CTPY", str(got[0]))
    return f"the one step of its station, {got[0].PatientName}"


@cell(PEER, CALLS_US, "C-MOVE", "movescu --store, to itself")
def move_to_itself(bench):
    seen = []
    for model, level in (("-P", "PATIENT"), ("-S", "STUDY")):
        study, folder = bench.keep(bench.with_jpeg()), bench.place("moved")
        said = tool(bench, "movescu", model, "-aet", "PYMOVE", "-aem", "PYMOVE", "--store", "--store-port",
                    bench.port("PYMOVE"), "--store-aet", "PYMOVE", "-od", folder,
                    *keys(f"QueryRetrieveLevel={level}", f"PatientID={study.patient}" if model == "-P"
                          else f"StudyInstanceUID={study.uid}"))
        expect("Move SCP Result: 0x0000 (Success)" in said, tail(said))
        seen.append(f"{model} {arrived(study, folder)}")
    return "; ".join(seen)


@cell(PEER, CALLS_US, "C-MOVE", "movescu, to a third (storescp)")
def move_to_third(bench):
    study = bench.keep(bench.with_jpeg())
    said = tool(bench, "movescu", "-S", "-aet", "PYMOVE", "-aem", "PYSTORE",
                *keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study.uid}"))
    expect("Move SCP Result: 0x0000 (Success)" in said, tail(said))
    return arrived(study, bench.areas["PYSTORE"])


@cell(PEER, CALLS_US, "C-GET", "getscu -P, -S, -O")
def getscu(bench):
    seen = []
    for model, level in (("-P", "PATIENT"), ("-S", "STUDY"), ("-O", "STUDY")):
        study, folder = bench.keep(bench.with_jpeg()), bench.place("got")
        wanted = [f"QueryRetrieveLevel={level}"]
        wanted += [f"PatientID={study.patient}"] if model != "-S" else []
        wanted += [f"StudyInstanceUID={study.uid}"] if level == "STUDY" else []
        tool(bench, "getscu", model, "-od", folder, *keys(*wanted))
        seen.append(f"{model} {arrived(study, folder)}")
    return "; ".join(seen)


def asked(transaction, study):
    data = Dataset()
    data.TransactionUID = transaction
    data.ReferencedSOPSequence = [reference(one.sop_class, one.uid) for one in study.objects]
    return data


def reference(sop_class, uid):
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = uid
    return item


@cell(PEER, CALLS_US, "Storage commitment", "library, report on the same association and on another")
def ask_for_commitment(bench):
    study = bench.keep(bench.study())
    reports, refuse = [], []

    def on_report(event):
        if refuse and event.assoc.is_requestor:
            return 0x0110, None
        reports.append((event.event_type, event.event_information))
        return 0x0000, None

    handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
    missing = generate_uid()
    for same in (True, False):
        server = None
        if not same:
            refuse.append(True)
            listener = AE(ae_title="PYCOMMIT")
            listener.add_supported_context(Commitment, scu_role=True, scp_role=True)
            server = listener.start_server(("127.0.0.1", bench.port("PYCOMMIT")), block=False, evt_handlers=handlers)
        for objects, kind in ((study.objects, 1), ([*study.objects, None], 2)):
            caller = AE(ae_title="PYCOMMIT")
            caller.add_requested_context(Commitment)
            association = caller.associate("127.0.0.1", bench.dimse, ae_title=AET, evt_handlers=handlers)
            expect(association.is_established, "no association")
            data = asked(generate_uid(), study)
            if kind == 2:
                data.ReferencedSOPSequence.append(reference(study.objects[0].sop_class, missing))
            status, _ = association.send_n_action(data, 1, Commitment, COMMITTED)
            expect(status and status.Status == 0, str(status))
            if not same:
                association.release()
            mine = lambda: [one for one in reports if one[1].TransactionUID == data.TransactionUID]  # noqa: E731
            (told, report), = eventually("a report", 60, mine)
            expect(told == kind and len(report.ReferencedSOPSequence) == study.count(), str(report))
            failed = [item.ReferencedSOPInstanceUID for item in report.get("FailedSOPSequence", [])]
            expect(failed == ([missing] if kind == 2 else []), str(report))
            if same:
                association.release()
        if server:
            server.shutdown()
    return "4 of 4 committed, and 4 of 5 with the fifth named (0112); so on the same association and on one of ours"


def on_association(bench, context):
    caller = AE(ae_title="CTPY2")
    caller.add_requested_context(context)
    association = caller.associate("127.0.0.1", bench.dimse, ae_title=AET)
    expect(association.is_established, "no association")
    return association


@cell(PEER, CALLS_US, "MPPS", "library: worklist, N-CREATE, N-SET")
def perform(bench):
    number = order(bench, "PYNET2", "CTPY2")
    state = lambda: bench.json(f"{bench.http}/api/orders/{number}")["state"]  # noqa: E731
    query = Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    query.PatientName = query.PatientID = query.AccessionNumber = query.StudyInstanceUID = query.RequestedProcedureID = ""
    step = Dataset()
    step.ScheduledStationAETitle = "CTPY2"
    step.ScheduledProcedureStepID = ""
    query.ScheduledProcedureStepSequence = [step]
    association = on_association(bench, WorklistFind)
    got = [item for _, item in association.send_c_find(query, WorklistFind) if item is not None]
    association.release()
    expect(len(got) == 1 and str(got[0].PatientName) == "Li^Si=李^四", str(got))
    item = got[0]
    create = Dataset()
    create.SpecificCharacterSet = "ISO_IR 192"
    scheduled = Dataset()
    scheduled.StudyInstanceUID = item.StudyInstanceUID
    scheduled.AccessionNumber = item.AccessionNumber
    scheduled.RequestedProcedureID = item.RequestedProcedureID
    scheduled.ScheduledProcedureStepID = item.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID
    create.ScheduledStepAttributesSequence = [scheduled]
    create.PatientName, create.PatientID = item.PatientName, item.PatientID
    create.PerformedProcedureStepID = "PPS1"
    create.PerformedStationAETitle = "CTPY2"
    create.PerformedProcedureStepStartDate, create.PerformedProcedureStepStartTime = "20261123", "093500"
    create.PerformedProcedureStepStatus = "IN PROGRESS"
    create.Modality = "CT"
    create.PerformedSeriesSequence = []
    uid = generate_uid()
    association = on_association(bench, Mpps)
    status, _ = association.send_n_create(create, Mpps, uid)
    expect(status and status.Status == 0, f"N-CREATE: {status}")
    begun = state()
    change = Dataset()
    change.PerformedProcedureStepStatus = "COMPLETED"
    change.PerformedProcedureStepEndDate, change.PerformedProcedureStepEndTime = "20261123", "094000"
    performed = Dataset()
    performed.SeriesInstanceUID = generate_uid()
    performed.ProtocolName = "Chest"
    change.PerformedSeriesSequence = [performed]
    status, _ = association.send_n_set(change, Mpps, uid)
    expect(status and status.Status == 0, f"N-SET: {status}")
    association.release()
    expect(state() == "COMPLETED" and begun != "SCHEDULED", f"{begun}, then {state()}")
    return f"the order goes from SCHEDULED to {begun} to COMPLETED"


# We call it.


@cell(PEER, IS_CALLED, "C-ECHO", "echoscp, storescp")
def echo(bench):
    for title in ("PYECHO", "PYSTORE"):
        bench.qianli("echo", title)
    return "both answer"


@cell(PEER, IS_CALLED, "C-STORE", "storescp")
def send(bench):
    study = bench.with_jpeg()
    bench.qianli("send", "PYSTORE", study.folder)
    return arrived(study, bench.areas["PYSTORE"])


def archive(bench):
    if not bench.has_archive:
        raise Missing("qrscp needs SQLAlchemy, which is not installed")


@cell(PEER, IS_CALLED, "C-STORE", "qrscp")
def send_to_archive(bench):
    archive(bench)
    study = bench.with_jpeg()
    bench.qianli("send", "PYQR", study.folder)
    return arrived(study, bench.areas["PYQR"])


@cell(PEER, IS_CALLED, "C-FIND", "qrscp")
def find(bench):
    archive(bench)
    study = only_there(bench)
    seen = []
    for level, wanted, expected in (
        ("patient", [f"PatientID={study.patient}"], 1),
        ("study", [f"PatientID={study.patient}"], 1),
        ("series", [f"StudyInstanceUID={study.uid}"], 2),
        ("image", [f"StudyInstanceUID={study.uid}", f"SeriesInstanceUID={study.objects[0].series}"], 3),
    ):
        got = answers(bench.qianli("find", "PYQR", "--level", level, *keys(*wanted)))
        tag = {"patient": "00100020", "study": "0020000D", "series": "0020000E", "image": "00080018"}[level]
        distinct = {value(one, tag) for one in got}
        expect(len(distinct) == expected, f"{level}: {distinct}")
        theirs = tool(bench, "findscu", "-P" if level == "patient" else "-S", *keys(
            f"QueryRetrieveLevel={level.upper()}", *wanted), title="PYQR", port=bench.port("PYQR")).count("(Pending)")
        expect(len(got) == theirs, f"{level}: {len(got)} answers, its own findscu gets {theirs}")
        if level == "image":
            expect(distinct == {one.uid for one in study.objects[:3]}, str(got))
        seen.append(f"{level} {expected}" + (f" ({len(got)} times)" if len(got) > expected else ""))
    return ", ".join(seen) + ". Above the instance qrscp answers once for each instance, its own findscu too"


def only_there(bench):
    study = bench.study()
    tool(bench, "storescu", "-r", title="PYQR", port=bench.port("PYQR"), rest=[study.folder])
    return study


@cell(PEER, IS_CALLED, "C-MOVE", "qrscp, back to us")
def move(bench):
    archive(bench)
    study = only_there(bench)
    bench.qianli("move", "PYQR", "--to", AET, "--study", study.uid)
    return bench.here(study)


@cell(PEER, CALLS_US, "C-STORE", "qrscp, told by movescu")
def moved_to_us(bench):
    archive(bench)
    study = only_there(bench)
    tool(bench, "movescu", "-S", "-aem", AET, *keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study.uid}"),
         title="PYQR", port=bench.port("PYQR"))
    return bench.here(study)


@cell(PEER, IS_CALLED, "C-GET", "qrscp")
def get(bench):
    archive(bench)
    study, folder = only_there(bench), bench.place("got")
    bench.qianli("get", "PYQR", "--study", study.uid, "--into", folder)
    return arrived(study, folder)


@cell(PEER, IS_CALLED, "Storage commitment", "library, report on the same association and on another")
def commit(bench):
    study = bench.study()
    seen = []
    for listening in (False, True):
        missing = study.objects[-1].uid if listening else None
        port = free_port() if listening else None
        served = serve_commitment(bench, missing, port)
        more = ["--listen", f"127.0.0.1:{port}"] if listening else []
        said = bench.qianli("commit", "PYSAFE", study.folder, *more, ok=False)
        served.shutdown()
        expect(bench.code == (1 if listening else 0), f"ended with {bench.code}: {tail(said)}")
        expect(missing is None or str(study.objects[-1].path) in said, tail(said))
        count = study.count() - bool(missing)
        expect(f"committed {count}" in " ".join(said.split()), tail(said))
        how = "the other named, reported on another" if missing else "reported on the same"
        seen.append(f"{count} of {study.count()} committed, {how}")
    return "; ".join(seen)


def serve_commitment(bench, missing, listener):
    """A server that has everything but `missing`, and reports to `listener`, or on the association that asks."""

    def action(event):
        information, association = event.action_information, event.assoc

        def later():
            answer = Dataset()
            answer.TransactionUID = information.TransactionUID
            items = information.ReferencedSOPSequence
            answer.ReferencedSOPSequence = [item for item in items if item.ReferencedSOPInstanceUID != missing]
            gone = [item for item in items if item.ReferencedSOPInstanceUID == missing]
            for item in gone:
                item.FailureReason = 0x0112
            if gone:
                answer.FailedSOPSequence = gone
            over = association
            if listener:
                caller = AE(ae_title="PYSAFE")
                caller.add_requested_context(Commitment)
                over = caller.associate("127.0.0.1", listener, ext_neg=[build_role(Commitment, scp_role=True)])
            over.send_n_event_report(answer, 2 if gone else 1, Commitment, COMMITTED)
            if listener:
                over.release()

        threading.Timer(0.3, later).start()
        return 0x0000, None

    server = AE(ae_title="PYSAFE")
    server.add_supported_context(Commitment)
    return server.start_server(("127.0.0.1", bench.port("PYSAFE")), block=False, evt_handlers=[(evt.EVT_N_ACTION, action)])


explained(PEER, IS_CALLED, "Worklist", "qrscp", "Qianli is an archive: it answers worklist queries and asks none.")
explained(PEER, IS_CALLED, "MPPS", "none", "Qianli is no modality and reports no performed procedure steps.")
