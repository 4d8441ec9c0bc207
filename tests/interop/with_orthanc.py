"""Cells with Orthanc: as a client by its REST interface, and as a server."""

import json
import shutil
from pathlib import Path

from harness import (AET, CALLS_US, IS_CALLED, Explained, Missing, answers, arrived, cell, eventually, expect, explained,
                     free_port, listens, order, tail, value)

PEER = "Orthanc"


def binary():
    found = shutil.which("Orthanc") or next((path for path in ("/usr/sbin/Orthanc",) if Path(path).is_file()), None)
    if not found:
        raise Missing("Orthanc is not installed")
    return found


def version(bench):
    return "Orthanc " + bench.run([binary(), "--version"]).split()[1]


def start(bench):
    folder = bench.place("orthanc")
    web = free_port()
    bench.orthanc = f"http://127.0.0.1:{web}"
    us = {"AET": AET, "Host": "127.0.0.1", "Port": bench.dimse}
    asks = {"AET": "COMMITCLI", "Host": "127.0.0.1", "Port": bench.port("COMMITCLI")}
    config = folder / "orthanc.json"
    config.write_text(json.dumps({
        "Name": "Orthanc", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
        "HttpPort": web, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomPort": bench.port("ORTHANC"), "DicomAet": "ORTHANC", "DefaultEncoding": "Utf8", "Plugins": [],
        "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True, "DicomModalities": {"qianli": us, "asks": asks}, "OverwriteInstances": False,
    }))
    bench.start([binary(), config], "orthanc", web)
    eventually("Orthanc's DICOM port listens", 30, lambda: listens(bench.port("ORTHANC")))


def titles():
    return ["ORTHANC"]


def rest(bench, path, body=None, method=None):
    return bench.json(bench.orthanc + path, body, method)


def known(bench, study):
    """Its number for a study, when it has all of that."""

    def look():
        found = rest(bench, "/tools/lookup", study.uid.encode())
        one = next((item["ID"] for item in found if item["Type"] == "Study"), None)
        return one and len(rest(bench, f"/studies/{one}/instances")) == study.count() and one

    return eventually("Orthanc has the study", 30, look)


def in_orthanc(bench, study):
    """How Orthanc holds a study."""
    folder = bench.place("orthanc-has")
    for one in rest(bench, f"/studies/{known(bench, study)}/instances"):
        (folder / one["ID"]).write_bytes(bench.request(f"{bench.orthanc}/instances/{one['ID']}/file"))
    return arrived(study, folder)


def only_there(bench):
    """A study that Orthanc got over HTTP, and the node has not."""
    study = bench.with_jpeg()
    for one in study.objects:
        bench.request(bench.orthanc + "/instances", one.path.read_bytes(), "POST")
    return study, known(bench, study)


# It calls us.


@cell(PEER, CALLS_US, "C-ECHO", "/modalities/…/echo")
def echo_us(bench):
    rest(bench, "/modalities/qianli/echo", {}, "POST")
    return "Success"


@cell(PEER, CALLS_US, "C-STORE", "/modalities/…/store")
def store(bench):
    study, number = only_there(bench)
    told = rest(bench, "/modalities/qianli/store", {"Resources": [number], "Synchronous": True}, "POST")
    expect((told["InstancesCount"], told["FailedInstancesCount"]) == (study.count(), 0), str(told))
    return bench.here(study)


def query(bench, level, **keys):
    made = rest(bench, "/modalities/qianli/query", {"Level": level, "Query": keys}, "POST")
    contents = [rest(bench, f"/queries/{made['ID']}/answers/{number}/content?simplify")
                for number in rest(bench, f"/queries/{made['ID']}/answers")]
    return made["ID"], contents


@cell(PEER, CALLS_US, "C-FIND", "/modalities/…/query: patient, study, series, instance")
def find_us(bench):
    study = bench.keep(bench.study())
    seen = []
    series = study.objects[0].series
    for level, keys, expected in (
        ("Patient", {"PatientID": study.patient, "PatientName": ""}, 1),
        ("Study", {"PatientID": study.patient, "PatientName": "ZHANG*"}, 1),
        ("Series", {"StudyInstanceUID": study.uid, "PatientName": ""}, 2),
        ("Instance", {"StudyInstanceUID": study.uid, "SeriesInstanceUID": series, "PatientName": ""}, 3),
    ):
        _, got = query(bench, level, **keys)
        expect(len(got) == expected, f"{level}: {len(got)} answers, not {expected}")
        expect(got[0]["PatientName"] == study.name, f"{level}: {got[0].get('PatientName')!r}")
        if level == "Instance":
            expect({one["SOPInstanceUID"] for one in got} == {one.uid for one in study.objects[:3]}, str(got))
        seen.append(f"{level} {expected}")
    return f"{', '.join(seen)}; the name {study.name}"


@cell(PEER, CALLS_US, "C-MOVE", "/queries/…/retrieve, /modalities/…/move, to itself")
def move_us(bench):
    study = bench.keep(bench.with_jpeg())
    number, got = query(bench, "Study", PatientID=study.patient)
    expect(len(got) == 1, str(got))
    rest(bench, f"/queries/{number}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True}, "POST")
    seen = in_orthanc(bench, study)
    other = bench.keep(bench.with_jpeg())
    rest(bench, "/modalities/qianli/move", {"Level": "Study", "TargetAet": "ORTHANC", "Synchronous": True,
                                            "Resources": [{"StudyInstanceUID": other.uid}]}, "POST")
    return f"retrieve: {seen}; move: {in_orthanc(bench, other)}"


@cell(PEER, CALLS_US, "C-GET", "none")
def get_us(bench):
    try:
        rest(bench, "/modalities/qianli/get", {"Level": "Study", "Resources": []}, "POST")
    except AssertionError as error:
        expect("404" in str(error), str(error))
        words = "Orthanc of this version is no requestor of C-GET: /modalities/…/get is 404. Newer ones are."
        raise Explained(words) from error
    raise AssertionError("this Orthanc has /modalities/…/get: write the cell")


@cell(PEER, CALLS_US, "Storage commitment", "/modalities/…/storage-commitment")
def commitment_of_us(bench):
    study = bench.keep(bench.study())
    missing = {"SOPClassUID": study.objects[0].sop_class, "SOPInstanceUID": "1.2.3.4.5"}
    objects = [{"SOPClassUID": one.sop_class, "SOPInstanceUID": one.uid} for one in study.objects]
    seen = []
    for asked, expected in ((objects, "Success"), ([*objects, missing], "Failure")):
        job = rest(bench, "/modalities/qianli/storage-commitment", {"DicomInstances": asked}, "POST")

        def report():
            told = rest(bench, f"/storage-commitment/{job['ID']}")
            return told["Status"] != "Pending" and told

        told = eventually("the report", 120, report)
        expect(told["Status"] == expected and len(told["Success"]) == study.count(), str(told))
        failures = [one["SOPInstanceUID"] for one in told["Failures"]]
        expect(failures == ([] if expected == "Success" else ["1.2.3.4.5"]), str(told))
        seen.append(f"{len(told['Success'])} of {len(asked)} committed")
    return f"{'; '.join(seen)}, the fifth named. It leaves before the report, which we bring on an association of our own"


@cell(PEER, CALLS_US, "Worklist", "/modalities/…/find-worklist")
def worklist(bench):
    order(bench, "ORTH1", "CTORTH")
    step = [{"ScheduledStationAETitle": "CTORTH", "Modality": "CT", "ScheduledProcedureStepID": ""}]
    got = rest(bench, "/modalities/qianli/find-worklist", {
        "PatientName": "LI*", "AccessionNumber": "", "ScheduledProcedureStepSequence": step}, "POST")
    expect(len(got) == 1 and got[0]["AccessionNumber"] == "ORTH1", str(got))
    expect(got[0]["ScheduledProcedureStepSequence"][0]["ScheduledStationAETitle"] == "CTORTH", str(got))
    return f"the one step of its station, {got[0]['PatientName']}"


explained(PEER, CALLS_US, "MPPS", "none", "Orthanc reports no performed procedure steps.")


# We call it.


@cell(PEER, IS_CALLED, "C-ECHO", "server")
def echo(bench):
    bench.qianli("echo", "ORTHANC")
    return "it answers"


@cell(PEER, IS_CALLED, "C-STORE", "server")
def send(bench):
    study = bench.with_jpeg()
    bench.qianli("send", "ORTHANC", study.folder)
    return in_orthanc(bench, study)


@cell(PEER, IS_CALLED, "C-FIND", "server")
def find(bench):
    study, _ = only_there(bench)
    seen = []
    for level, keys, expected in (
        ("patient", [f"PatientID={study.patient}"], 1),
        ("study", [f"PatientID={study.patient}"], 1),
        ("series", [f"StudyInstanceUID={study.uid}"], 3),
        ("image", [f"StudyInstanceUID={study.uid}", f"SeriesInstanceUID={study.objects[0].series}"], 2),
    ):
        options = [part for key in keys for part in ("-k", key)]
        got = answers(bench.qianli("find", "ORTHANC", "--level", level, *options))
        expect(len(got) == expected, f"{level}: {len(got)} answers, not {expected}")
        if level == "study":
            expect(value(got[0], "00100010") == study.name, str(got[0]))
        if level == "image":
            expect({value(one, "00080018") for one in got} == {one.uid for one in study.objects[:2]}, str(got))
        seen.append(f"{level} {expected}")
    return f"{', '.join(seen)}; the name {study.name}"


@cell(PEER, IS_CALLED, "C-MOVE", "server, back to us")
def move(bench):
    study, _ = only_there(bench)
    bench.qianli("move", "ORTHANC", "--to", AET, "--study", study.uid)
    seen = bench.here(study)
    patient, _ = only_there(bench)
    bench.qianli("move", "ORTHANC", "--to", AET, "--patient", patient.patient)
    return f"study root: {seen}; patient root: {bench.here(patient)}"


@cell(PEER, IS_CALLED, "C-GET", "server")
def get(bench):
    study, _ = only_there(bench)
    folder = bench.place("got")
    bench.qianli("get", "ORTHANC", "--study", study.uid, "--into", folder)
    return arrived(study, folder)


@cell(PEER, IS_CALLED, "Storage commitment", "server")
def commit(bench):
    study, _ = only_there(bench)
    listen = f"127.0.0.1:{bench.port('COMMITCLI')}"
    said = bench.qianli("commit", "ORTHANC", study.folder, "--aet", "COMMITCLI", "--listen", listen)
    expect(f"committed {study.count()}" in " ".join(said.split()), tail(said))
    lacking = bench.study("dx-chest/001.dcm")
    said = bench.qianli("commit", "ORTHANC", lacking.folder, "--aet", "COMMITCLI", "--listen", listen, ok=False)
    expect(bench.code == 1 and "committed 0" in " ".join(said.split()), tail(said))
    return f"{study.count()} of {study.count()} committed; of what it has not, none. It reports on an association of its own"


explained(PEER, IS_CALLED, "Worklist", "its worklist plugin",
          "Qianli is an archive: it answers worklist queries and asks none.")
explained(PEER, IS_CALLED, "MPPS", "none", "Orthanc takes no performed procedure steps, and Qianli reports none.")
