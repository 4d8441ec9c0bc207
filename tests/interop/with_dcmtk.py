"""Cells with DCMTK's tools and servers."""

import time

import pydicom

from harness import (AET, CALLS_US, IS_CALLED, Explained, answers, arrived, cell, eventually, expect, explained,
                     order, program, tail, value)

PEER = "DCMTK"


def version(bench):
    first = bench.run([program("echoscu"), "--version"]).splitlines()[0]
    return "DCMTK " + first.split(" v")[1].split(" ")[0]


def start(bench):
    """Its servers: an archive, two receivers (one takes uncompressed objects only), a worklist."""
    area = bench.place("dcmqrscp")
    config = bench.folder / "dcmqrscp.cfg"
    config.write_text(f"""
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
qianli = ({AET}, localhost, {bench.dimse})
storeall = (STOREALL, localhost, {bench.port("STOREALL")})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQRSCP {area} RW (200, 1024mb) ANY
AETable END
""")
    bench.areas["DCMQRSCP"] = area
    bench.start([program("dcmqrscp"), "-c", config, "+x=", bench.port("DCMQRSCP")], "dcmqrscp", bench.port("DCMQRSCP"))
    for title, options in (("STORESCP", []), ("STOREALL", ["+xa"])):
        bench.areas[title] = bench.place(title.lower())
        command = [program("storescp"), "--fork", "+B", *options, "-aet", title, "-od", bench.areas[title]]
        bench.start([*command, bench.port(title)], title.lower(), bench.port(title))
    worklists = bench.place("worklists")
    (worklists / "WLMSCPFS").mkdir()
    (worklists / "WLMSCPFS" / "lockfile").touch()
    bench.start([program("wlmscpfs"), "-dfp", worklists, bench.port("WLMSCPFS")], "wlmscpfs", bench.port("WLMSCPFS"))


def titles():
    return ["DCMQRSCP", "STORESCP", "STOREALL", "MOVESCU"]


def tool(bench, name, *arguments, title=AET, port=None, ok=True, rest=()):
    return bench.run([program(name), "-v", "-aec", title, *arguments, "127.0.0.1", port or bench.dimse, *rest], ok=ok)


# It calls us.


@cell(PEER, CALLS_US, "C-ECHO", "echoscu")
def echoscu(bench):
    said = tool(bench, "echoscu")
    expect("Received Echo Response (Success)" in said, tail(said))
    return "Success"


@cell(PEER, CALLS_US, "C-STORE", "storescu")
def storescu(bench):
    plain, film = bench.study(), bench.study("us-heart/001.dcm")
    said = tool(bench, "storescu", "+sd", rest=[plain.folder])
    expect(said.count("Received Store Response (Success)") == plain.count(), tail(said))
    tool(bench, "storescu", "-xy", "+sd", rest=[film.folder])
    return f"{bench.here(plain)}; JPEG (`-xy`): {bench.here(film)}"


@cell(PEER, CALLS_US, "C-STORE", "dcmsend")
def dcmsend(bench):
    study = bench.with_jpeg()
    tool(bench, "dcmsend", "+sd", rest=[study.folder])
    return bench.here(study)


def found(bench, model, study, keys, *more):
    folder = bench.place("answers")
    options = [part for key in keys for part in ("-k", key)]
    said = tool(bench, "findscu", model, "-X", "-od", folder, *options, *more)
    return [pydicom.dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))], said


@cell(PEER, CALLS_US, "C-FIND", "findscu -P, -S, -O")
def findscu(bench):
    study = bench.keep(bench.study())
    seen = []
    for model in ("-P", "-S", "-O"):
        levels = ["STUDY"] if model == "-O" else ["STUDY", "SERIES", "IMAGE"]
        for level in (["PATIENT"] if model != "-S" else []) + levels:
            keys = [f"QueryRetrieveLevel={level}", f"PatientID={study.patient}", "PatientName=ZHANG*",
                    "SpecificCharacterSet=GB18030"]
            if level != "PATIENT":
                keys.append(f"StudyInstanceUID={study.uid}")
            if level == "SERIES":
                keys.append("SeriesInstanceUID")
            if level == "IMAGE":
                keys += [f"SeriesInstanceUID={study.objects[0].series}", "SOPInstanceUID"]
            got, said = found(bench, model, study, keys)
            expected = {"PATIENT": 1, "STUDY": 1, "SERIES": 2, "IMAGE": 3}[level]
            expect(len(got) == expected, f"{model} {level}: {len(got)} answers, not {expected}: {tail(said)}")
            who = (str(got[0].PatientName), got[0].PatientID)
            expect(who == (study.name, study.patient), f"{model} {level}: {who}")
            if level == "IMAGE":
                expect({one.SOPInstanceUID for one in got} == {one.uid for one in study.objects[:3]}, "other instances")
            seen.append(f"{model} {level} {len(got)}")
    return f"{', '.join(seen)}; the name {study.name} in GB18030"


@cell(PEER, CALLS_US, "Worklist", "findscu -W")
def worklist(bench):
    order(bench, "DCMTK1", "CTDCMTK")
    step = "ScheduledProcedureStepSequence[0]"
    keys = ["AccessionNumber", "PatientName=LI*", "SpecificCharacterSet=ISO_IR 192",
            f"{step}.ScheduledStationAETitle=CTDCMTK", f"{step}.ScheduledProcedureStepStartDate=20261123-",
            f"{step}.Modality=CT", f"{step}.ScheduledProcedureStepID"]
    got, said = found(bench, "-W", None, keys)
    expect(len(got) == 1, f"{len(got)} answers: {tail(said)}")
    expect((got[0].AccessionNumber, str(got[0].PatientName)) == ("DCMTK1", "Li^Si=李^四"), str(got[0]))
    other, _ = found(bench, "-W", None, ["AccessionNumber", f"{step}.ScheduledStationAETitle=NOBODY"])
    expect(not other, "a step of another station")
    return "the one step of its station, Li^Si=李^四 in UTF-8; none of another station"


@cell(PEER, CALLS_US, "C-MOVE", "movescu, to itself")
def move_to_itself(bench):
    study, folder = bench.keep(bench.with_jpeg()), bench.place("moved")
    said = tool(bench, "movescu", "-S", "-aet", "MOVESCU", "-aem", "MOVESCU", "+P", bench.port("MOVESCU"), "-od", folder,
                "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study.uid}")
    expect("Received Final Move Response (Success)" in said, tail(said))
    return f"study root, {arrived(study, folder)}"


@cell(PEER, CALLS_US, "C-MOVE", "movescu, to a third (storescp)")
def move_to_third(bench):
    seen = []
    for model, key in (("-P", "PatientID"), ("-S", "StudyInstanceUID"), ("-O", "StudyInstanceUID")):
        study = bench.keep(bench.with_jpeg())
        keys = ["-k", f"QueryRetrieveLevel={'PATIENT' if model == '-P' else 'STUDY'}"]
        keys += ["-k", f"{key}={study.patient if model == '-P' else study.uid}"]
        if model == "-O":
            keys += ["-k", f"PatientID={study.patient}"]
        said = tool(bench, "movescu", model, "-aet", "MOVESCU", "-aem", "STORESCP", *keys)
        expect("Received Final Move Response (Success)" in said, f"{model}: {tail(said)}")
        seen.append(f"{model} {arrived(study, bench.areas['STORESCP'])}")
    return "; ".join(seen)


@cell(PEER, CALLS_US, "C-MOVE", "movescu, a series and two instances to a third (storescp)")
def move_parts(bench):
    seen = []
    for level, wanted in (("SERIES", slice(0, 3)), ("IMAGE", slice(0, 2))):
        study = bench.keep(bench.study())
        part = study.part(wanted)
        keys = [f"QueryRetrieveLevel={level}", f"StudyInstanceUID={study.uid}", f"SeriesInstanceUID={part.objects[0].series}"]
        if level == "IMAGE":
            keys.append("SOPInstanceUID=" + "\\".join(one.uid for one in part.objects))
        said = tool(bench, "movescu", "-S", "-aem", "STOREALL", *(text for key in keys for text in ("-k", key)))
        expect("Received Final Move Response (Success)" in said, f"{level}: {tail(said)}")
        seen.append(f"{level} {arrived(part, bench.areas['STOREALL'])}, {nothing_else(bench, study, part)}")
    return "; ".join(seen)


def nothing_else(bench, study, part):
    names = " ".join(path.name for path in bench.areas["STOREALL"].iterdir())
    wrong = [one for one in study.objects if one not in part.objects and one.uid in names]
    expect(not wrong, f"{len(wrong)} objects came that were not asked for")
    return f"none of the other {study.count() - part.count()}"


@cell(PEER, CALLS_US, "C-GET", "getscu -P, -S, -O")
def getscu(bench):
    seen = []
    for model in ("-P", "-S", "-O"):
        study, folder = bench.keep(bench.with_jpeg()), bench.place("got")
        level = "PATIENT" if model == "-P" else "STUDY"
        keys = ["-k", f"QueryRetrieveLevel={level}", "-k", f"PatientID={study.patient}"]
        keys += [] if model == "-P" else ["-k", f"StudyInstanceUID={study.uid}"]
        said = tool(bench, "getscu", model, "+B", "-od", folder, *keys)
        expect("Success" in said, f"{model}: {tail(said)}")
        seen.append(f"{model} {arrived(study, folder)}")
    return "; ".join(seen)


@cell(PEER, CALLS_US, "Shutdown (private)", "termscu")
def termscu(bench):
    said = tool(bench, "termscu", ok=False)
    code = bench.code
    expect("Received Echo Response (Success)" in tool(bench, "echoscu"), "the node no longer answers after it")
    expect(code == 0 and "Association Accepted" in said and "Releasing Association" in said, tail(said))
    raise Explained(
        "termscu asks DCMTK's own servers to end, by proposing a private SOP class; those that were started with leave for "
        "it reject the association and go. An archive is not to be ended from the network: to us it is one more private "
        "class that somebody may want to store, so the association is accepted and released, nothing happens, and the "
        "node answers echoscu afterwards.")


explained(PEER, CALLS_US, "Storage commitment", "none", "DCMTK has no program that asks for storage commitment.")
explained(PEER, CALLS_US, "MPPS", "none", "DCMTK has no program that reports performed procedure steps.")


# We call it.


@cell(PEER, IS_CALLED, "C-ECHO", "dcmqrscp, storescp, wlmscpfs")
def echo(bench):
    for title in ("DCMQRSCP", "STORESCP", "WLMSCPFS"):
        bench.qianli("echo", title)
    return "all three answer"


@cell(PEER, IS_CALLED, "C-STORE", "dcmqrscp")
def send_to_archive(bench):
    study = bench.study()
    send_slowly(bench, study)
    return (f"{arrived(study, bench.areas['DCMQRSCP'])}. Over one association (`--associations 1`; register it so): on two "
            "at a time dcmqrscp answers Success as well, but now and then gives two objects one file name. Two storescu "
            "beside each other show that without us")


def send_slowly(bench, study):
    bench.qianli("send", "DCMQRSCP", study.folder, "--associations", "1")


@cell(PEER, IS_CALLED, "C-STORE", "storescp")
def send_to_receiver(bench):
    study = bench.with_jpeg()
    bench.qianli("send", "STOREALL", study.folder)
    seen = arrived(study, bench.areas["STOREALL"])
    film = bench.study("us-heart/001.dcm")
    said = bench.qianli("send", "STORESCP", film.folder, ok=False)
    expect(bench.code == 1 and "none of the proposed presentation contexts" in said, tail(said))
    return f"{seen}; to one that takes no JPEG (without `+xa`) `qianli send` sends none, ends with 1 and says so"


@cell(PEER, IS_CALLED, "C-STORE", "storescp, as a route's destination")
def route(bench):
    bench.operate("route", "add", "--to", "dicom:STOREALL", "--from", "ROUTED", "--at-once")
    # The first such rule counts for what comes after the node saw it.
    time.sleep(3)
    study = bench.with_jpeg()
    tool(bench, "dcmsend", "-aet", "ROUTED", "+sd", rest=[study.folder])

    def there():
        files = [path.name for path in bench.areas["STOREALL"].iterdir()]
        return all(any(one.uid in name for name in files) for one in study.objects)

    eventually("the route delivers", 60, there)
    return arrived(study, bench.areas["STOREALL"])


@cell(PEER, IS_CALLED, "C-FIND", "dcmqrscp")
def find(bench):
    study = bench.study()
    send_slowly(bench, study)
    seen = []
    for level, keys, expected in (
        ("patient", [f"PatientID={study.patient}"], 1),
        ("study", [f"PatientID={study.patient}", "PatientName=ZHANG*"], 1),
        ("series", [f"StudyInstanceUID={study.uid}"], 2),
        ("image", [f"StudyInstanceUID={study.uid}", f"SeriesInstanceUID={study.objects[0].series}"], 3),
    ):
        options = [part for key in keys for part in ("-k", key)]
        got = answers(bench.qianli("find", "DCMQRSCP", "--level", level, *options))
        expect(len(got) == expected, f"{level}: {len(got)} answers, not {expected}")
        if level == "study":
            expect(value(got[0], "0020000D") == study.uid, str(got[0]))
        if level == "image":
            expect({value(one, "00080018") for one in got} == {one.uid for one in study.objects[:3]}, str(got))
        seen.append(f"{level} {len(got)}")
    return ", ".join(seen)


def only_there(bench):
    """A study that dcmqrscp has and the node has not."""
    study = bench.study()
    tool(bench, "storescu", "+sd", title="DCMQRSCP", port=bench.port("DCMQRSCP"), rest=[study.folder])
    return study


@cell(PEER, IS_CALLED, "C-MOVE", "dcmqrscp, back to us")
def move(bench):
    study = only_there(bench)
    bench.qianli("move", "DCMQRSCP", "--to", AET, "--study", study.uid)
    seen = bench.here(study)
    patient = only_there(bench)
    bench.qianli("move", "DCMQRSCP", "--to", AET, "--patient", patient.patient)
    return f"study root: {seen}; patient root: {bench.here(patient)}"


@cell(PEER, IS_CALLED, "C-MOVE", "dcmqrscp, a series and two instances to a third (storescp)")
def move_to_other(bench):
    seen = []
    for level, wanted in (("series", slice(0, 3)), ("instances", slice(0, 2))):
        study = only_there(bench)
        part = study.part(wanted)
        uids = ["--study", study.uid, "--series", part.objects[0].series]
        uids += ["--instance", ",".join(one.uid for one in part.objects)] if level == "instances" else []
        bench.qianli("move", "DCMQRSCP", "--to", "STOREALL", *uids)
        seen.append(f"{level}: {arrived(part, bench.areas['STOREALL'])}, {nothing_else(bench, study, part)}")
    return "; ".join(seen)


@cell(PEER, CALLS_US, "C-STORE", "dcmqrscp, told by movescu")
def moved_to_us(bench):
    study = only_there(bench)
    said = tool(bench, "movescu", "-S", "-aem", AET, "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study.uid}",
                title="DCMQRSCP", port=bench.port("DCMQRSCP"))
    expect("Received Final Move Response (Success)" in said, tail(said))
    return bench.here(study)


@cell(PEER, IS_CALLED, "C-GET", "dcmqrscp")
def get(bench):
    study, folder = only_there(bench), bench.place("got")
    bench.qianli("get", "DCMQRSCP", "--study", study.uid, "--into", folder)
    return arrived(study, folder)


@cell(PEER, IS_CALLED, "Storage commitment", "dcmqrscp")
def commit(bench):
    study = only_there(bench)
    said = bench.qianli("commit", "DCMQRSCP", study.folder, ok=False)
    expect(bench.code == 1 and "does not offer that service" in said, tail(said))
    raise Explained("dcmqrscp offers no storage commitment. `qianli commit` ends with 1 and says so.")


explained(PEER, IS_CALLED, "Worklist", "wlmscpfs",
          "Qianli is an archive: it answers worklist queries and asks none. wlmscpfs answers our C-ECHO.")
explained(PEER, IS_CALLED, "MPPS", "none", "DCMTK has no server of performed procedure steps; Qianli reports none.")
