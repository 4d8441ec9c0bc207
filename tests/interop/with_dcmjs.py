"""Cells with dcmjs-dimse, by `dcmjs.js` beside this file."""

import json
import os
from pathlib import Path

import pydicom
from pydicom.encaps import generate_frames
from pydicom.uid import generate_uid

from harness import (AET, CALLS_US, IS_CALLED, Missing, answers, cell, differences, expect, explained,
                     order, program, tail, value)

PEER = "dcmjs-dimse"
SCRIPT = Path(__file__).with_name("dcmjs.js")
COMMITMENT = "1.2.840.10008.1.20.1"
MPPS = "1.2.840.10008.3.1.2.3.3"
# Without text in ISO 2022 escapes and Unicode inside of sequences, which dcmjs does not read.
PLAIN = ("ct-chest/001.dcm", "ct-chest/002.dcm", "dx-chest/001.dcm", "us-heart/001.dcm")


def modules():
    folder = os.environ.get("QIANLI_TEST_NODE_MODULES", "")
    if not (Path(folder) / "dcmjs-dimse").is_dir():
        raise Missing("no node_modules folder with dcmjs-dimse is named in QIANLI_TEST_NODE_MODULES")
    return {"NODE_PATH": folder}


def version(bench):
    package = Path(modules()["NODE_PATH"]) / "dcmjs-dimse" / "package.json"
    node = bench.run([program("node"), "--version"]).strip()
    return f"dcmjs-dimse {json.loads(package.read_text('utf-8'))['version']} on Node.js {node}"


def start(bench):
    bench.js_area = bench.place("dcmjs")
    wanted = json.dumps({"port": bench.port("DCMJS"), "folder": str(bench.js_area), "us": bench.dimse})
    bench.start([program("node"), SCRIPT, "serve", wanted], "dcmjs", bench.port("DCMJS"), env=modules())


def titles():
    return ["DCMJS"]


def call(bench, command, **wanted):
    wanted = {"port": bench.dimse, "calling": "JSCLIENT", "called": AET} | wanted
    said = bench.run([program("node"), SCRIPT, command, json.dumps(wanted)], env=modules())
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    expect(lines, f"nothing came back: {tail(said)}")
    return lines


def success(lines):
    expect(lines[-1].get("status") == 0, f"the status is {lines[-1].get('status'):04X}")
    return lines


def name(elements):
    """A person name in whichever of its forms dcmjs gives it."""
    first = elements["PatientName"]
    first = first[0] if isinstance(first, list) else first
    return "=".join(part for part in first.values() if part) if isinstance(first, dict) else first


# It calls us.


@cell(PEER, CALLS_US, "C-ECHO", "client")
def echo_us(bench):
    success(call(bench, "echo"))
    return "Success"


@cell(PEER, CALLS_US, "C-STORE", "client")
def store(bench):
    study = bench.study(*PLAIN)
    lines = call(bench, "store", files=[str(one.path) for one in study.objects])
    expect([line["status"] for line in lines] == [0] * study.count(), str(lines))
    return f"{count(bench, study)}. {REWRITES}"


# Shows without Qianli, too, when dcmjs reads a file and writes it.
REWRITES = ("dcmjs writes objects anew, their text in UTF-8. Text in ISO 2022 escapes (it says that it reads the first "
            "character set only) and Unicode inside of sequences come out of it garbled, so that these samples are left out")


def count(bench, study):
    """What the archive has of a study that was rewritten on its way: every object, with its pixels."""
    listed = bench.json(f"{bench.http}/dicom-web/studies/{study.uid}/instances") or []
    uids = {one["00080018"]["Value"][0] for one in listed}
    expect(uids == {one.uid for one in study.objects}, f"the archive has {len(uids)} of {study.count()} objects")
    target = bench.place("back")
    for one in study.objects:
        url = f"{bench.http}/dicom-web/studies/{one.study}/series/{one.series}/instances/{one.uid}"
        (target / f"{one.uid}.dcm").write_bytes(bench.request(url, accept="application/dicom; transfer-syntax=*"))
    return pixels(study, target)


def pixels(study, folder):
    """Compares what dcmjs wrote: every element but the character set, and every frame."""
    for one in study.objects:
        path = Path(folder) / f"{one.uid}.dcm"
        expect(path.is_file(), f"{one.uid} did not arrive")
        came, made = pydicom.dcmread(path), pydicom.dcmread(one.path)
        wrong = [text for text in differences(made, came, True) if not text.startswith("(0008,0005)")]
        expect(not wrong, f"{one.uid}: {'; '.join(wrong[:3])}")
        expect(frames(came) == frames(made), f"{one.uid}: other pixels")
    return f"{study.count()} objects: every element and every frame the same"


def frames(content):
    if not content.file_meta.TransferSyntaxUID.is_compressed:
        return [content.PixelData]
    count = int(content.get("NumberOfFrames", 1))
    return [frame.rstrip(b"\0") for frame in generate_frames(content.PixelData, number_of_frames=count)]


@cell(PEER, CALLS_US, "C-FIND", "client: study, series, image")
def find_us(bench):
    study = bench.keep(bench.study())
    seen = []
    for level, keys, expected in (
        ("study", {"PatientID": study.patient, "PatientName": "ZHANG*"}, 1),
        ("series", {"StudyInstanceUID": study.uid, "SeriesInstanceUID": "", "PatientName": ""}, 2),
        ("image", {"StudyInstanceUID": study.uid, "SeriesInstanceUID": study.objects[0].series, "SOPInstanceUID": "",
                   "PatientName": ""}, 3),
    ):
        lines = success(call(bench, "find", level=level, keys={**keys, "SpecificCharacterSet": "ISO_IR 192"}))
        got = [line["elements"] for line in lines if line.get("elements")]
        expect(len(got) == expected, f"{level}: {len(got)} answers, not {expected}")
        expect(name(got[0]) == study.name, f"{level}: {got[0]}")
        seen.append(f"{level} {expected}")
    return f"{', '.join(seen)}; the name {study.name}"


@cell(PEER, CALLS_US, "Worklist", "client")
def worklist(bench):
    order(bench, "JS1", "CTJS")
    keys = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "LI*", "AccessionNumber": "",
            "ScheduledProcedureStepSequence": [{"ScheduledStationAETitle": "CTJS", "Modality": "CT"}]}
    lines = success(call(bench, "find", level="worklist", keys=keys))
    got = [line["elements"] for line in lines if line.get("elements")]
    expect(len(got) == 1 and got[0]["AccessionNumber"] == "JS1", str(got))
    return f"the one step of its station, {name(got[0])}"


@cell(PEER, CALLS_US, "C-MOVE", "client, to its own server")
def move(bench):
    study = bench.keep(bench.study(*PLAIN))
    lines = success(call(bench, "move", to="DCMJS", study=study.uid))
    expect(lines[-1]["counts"] == [study.count(), 0], str(lines[-1]))
    return pixels(study, bench.js_area)


@cell(PEER, CALLS_US, "C-GET", "client")
def get(bench):
    study, folder = bench.keep(bench.study(*PLAIN[:3])), bench.place("got")
    lines = success(call(bench, "get", study=study.uid, folder=str(folder)))
    expect(lines[-1]["counts"] == [study.count(), 0], str(lines[-1]))
    return pixels(study, folder)


@cell(PEER, CALLS_US, "Storage commitment", "client")
def commit(bench):
    study = bench.keep(bench.study())
    references = [{"ReferencedSOPClassUID": one.sop_class, "ReferencedSOPInstanceUID": one.uid} for one in study.objects]
    lines = call(bench, "action", sopClass=COMMITMENT, instance="1.2.840.10008.1.20.1.1", linger=5000,
                 data={"TransactionUID": generate_uid(), "ReferencedSOPSequence": references})
    expect(lines[0].get("status") == 0, str(lines[0]))
    reports = [line for line in lines if "report" in line]
    expect(len(reports) == 1 and reports[0]["report"] == 1, str(lines))
    told = reports[0]["elements"]["ReferencedSOPSequence"]
    expect(len(told) == study.count(), str(told))
    return f"{len(told)} of {study.count()} committed, reported on the same association"


@cell(PEER, CALLS_US, "MPPS", "client: N-CREATE, N-SET")
def perform(bench):
    number = order(bench, "JS2", "CTJS2")
    ordered = bench.json(f"{bench.http}/api/orders/{number}")
    procedure = ordered["order"]["procedure"]
    uid = generate_uid()
    create = {
        "SpecificCharacterSet": "ISO_IR 192", "PatientName": "Li^Si=李^四", "PatientID": "P-JS2",
        "PatientBirthDate": "", "PatientSex": "", "StudyID": "", "PerformedStationName": "", "PerformedLocation": "",
        "PerformedProcedureStepID": "PPS1", "PerformedStationAETitle": "CTJS2", "Modality": "CT",
        "PerformedProcedureStepStartDate": "20261123", "PerformedProcedureStepStartTime": "093500",
        "PerformedProcedureStepStatus": "IN PROGRESS", "PerformedSeriesSequence": [],
        "ScheduledStepAttributesSequence": [{"StudyInstanceUID": procedure["study_uid"], "AccessionNumber": "JS2",
                                             "RequestedProcedureID": procedure.get("id", "")}],
    }
    lines = call(bench, "create", sopClass=MPPS, instance=uid, data=create)
    expect(lines[-1]["status"] == 0, f"N-CREATE: {lines[-1]}")
    begun = bench.json(f"{bench.http}/api/orders/{number}")["state"]
    ended = {"PerformedProcedureStepStatus": "COMPLETED", "PerformedProcedureStepEndDate": "20261123",
             "PerformedProcedureStepEndTime": "094000",
             "PerformedSeriesSequence": [{"SeriesInstanceUID": generate_uid(), "ProtocolName": "Chest"}]}
    lines = call(bench, "set", sopClass=MPPS, instance=uid, data=ended)
    expect(lines[-1]["status"] == 0, f"N-SET: {lines[-1]}")
    state = bench.json(f"{bench.http}/api/orders/{number}")["state"]
    expect(state == "COMPLETED" and begun != "SCHEDULED", f"{begun}, then {state}")
    return f"the order goes from SCHEDULED to {begun} to COMPLETED"


# We call it.


@cell(PEER, IS_CALLED, "C-ECHO", "server")
def echo(bench):
    bench.qianli("echo", "DCMJS")
    return "it answers"


@cell(PEER, IS_CALLED, "C-STORE", "server")
def send(bench):
    study = bench.study(*PLAIN)
    bench.qianli("send", "DCMJS", study.folder)
    return pixels(study, bench.js_area)


@cell(PEER, IS_CALLED, "C-FIND", "server")
def find(bench):
    got = answers(bench.qianli("find", "DCMJS", "-k", "PatientID=F-1"))
    expect(len(got) == 1 and value(got[0], "00100020") == "F-1", str(got))
    expect(value(got[0], "00100010") == "Wang^XiaoDong=王^小东", str(got))
    return "study 1; the name Wang^XiaoDong=王^小东"


@cell(PEER, IS_CALLED, "Storage commitment", "server")
def commitment(bench):
    study = bench.study(*PLAIN)
    bench.qianli("send", "DCMJS", study.folder)
    said = bench.qianli("commit", "DCMJS", study.folder)
    expect(f"committed {study.count()}" in " ".join(said.split()), tail(said))
    lacking = bench.study("dx-chest/001.dcm")
    said = bench.qianli("commit", "DCMJS", lacking.folder, ok=False)
    expect(bench.code == 1 and "committed 0" in " ".join(said.split()), tail(said))
    return f"{study.count()} of {study.count()} committed; of what it has not, none. It reports on the same association"


def only_there(bench):
    """A study that the server has and the node has not."""
    study = bench.study(*PLAIN[:3])
    bench.qianli("send", "DCMJS", study.folder)
    return study


@cell(PEER, IS_CALLED, "C-MOVE", "server, back to us")
def move_back(bench):
    study = only_there(bench)
    bench.qianli("move", "DCMJS", "--to", AET, "--study", study.uid)
    return count(bench, study)


@cell(PEER, IS_CALLED, "C-GET", "server")
def get_back(bench):
    study, folder = only_there(bench), bench.place("got")
    bench.qianli("get", "DCMJS", "--study", study.uid, "--into", folder)
    for path in list(folder.iterdir()):
        content = pydicom.dcmread(path)
        path.rename(folder / f"{content.SOPInstanceUID}.dcm")
    return pixels(study, folder)


explained(PEER, IS_CALLED, "Worklist", "server", "Qianli is an archive: it answers worklist queries and asks none.")
explained(PEER, IS_CALLED, "MPPS", "server", "Qianli is no modality and reports no performed procedure steps.")
