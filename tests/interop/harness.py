"""What the cells of the matrix share: the node, processes, ports, studies to send, and proof of what arrived."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

ROOT = Path(__file__).resolve().parents[2]
AET = "QIANLI"
GREEN, RED, EXPLAINED, SKIPPED = "green", "RED", "explained", "skipped"
# Who opens the association.
CALLS_US, IS_CALLED = "it calls us", "we call it"


class Explained(Exception):
    """Why a cell cannot be green, and whose shortfall that is. Raised only after what happens was looked at."""


class Missing(Exception):
    """What is not installed here."""


@dataclass
class Cell:
    peer: str
    way: str
    service: str
    tool: str
    test: object
    state: str = ""
    text: str = ""


CELLS = []


def cell(peer, way, service, tool):
    """Registers a function of the bench as a cell. It returns what it saw."""

    def register(test):
        CELLS.append(Cell(peer, way, service, tool, test))
        return test

    return register


def explained(peer, way, service, tool, why):
    """Registers a cell that has nothing to run."""

    def test(_):
        raise Explained(why)

    CELLS.append(Cell(peer, way, service, tool, test))


def expect(truth, words):
    """Ends the cell as red, with these words, unless `truth`."""
    if not truth:
        raise AssertionError(words)


def eventually(what, seconds, probe):
    """Asks until the probe answers something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        expect(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.1)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port):
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0


def environment():
    """Without what configures a node; with Nagle's algorithm off in DCMTK, also inside of Orthanc."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QIANLI_")}
    return kept | {"TCP_NODELAY": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def tail(text, lines=6):
    return " / ".join(line.strip() for line in text.strip().splitlines()[-lines:])[-700:]


@dataclass
class Object:
    """One instance as it was made, and where."""

    path: Path
    study: str
    series: str
    uid: str
    sop_class: str
    syntax: str


@dataclass
class Study:
    folder: Path
    uid: str
    patient: str
    name: str
    objects: list = field(default_factory=list)

    def count(self):
        return len(self.objects)

    def part(self, which):
        """The same study with some of its objects."""
        return replace(self, objects=self.objects[which])


class Bench:
    """The node under test, what runs beside it, and a folder that goes away with it."""

    def __init__(self, binary, python, folder):
        self.binary = binary
        self.python = python
        self.folder = folder
        self.processes = []
        self.numbers = 0
        self.ports = {}
        # Folders of servers that keep what they get, by AE title.
        self.areas = {}
        self.samples = self._samples()
        self.log = folder / "qianli.log"
        self.dimse = free_port()
        self.http = f"http://127.0.0.1:{free_port()}"

    def port(self, title):
        """The port of a peer by its AE title, the same for the whole run."""
        return self.ports.setdefault(title, free_port())

    def start_node(self):
        address = self.http.removeprefix("http://")
        command = [self.binary, "serve", "--data", self.data(), "--http", address,
                   "--dimse", f"127.0.0.1:{self.dimse}", "--aet", AET, "--no-auth"]
        self.node = self.start(command, "qianli", self.dimse)
        eventually("the node is ready", 60, lambda: self.status("/readyz") == 200)
        # Worklists name patients: they are for registered devices, also where nobody logs in.
        for title in ("FINDSCU", "JSCLIENT", "CTPY2"):
            self.operate("peer", "add", title, "--may", "store,read,worklist")
        time.sleep(6)

    def data(self):
        return str(self.folder / "data")

    def operate(self, *arguments):
        """A command of the operator on the node's own data."""
        return self.run([self.binary, *arguments, "--data", self.data()])

    def register(self, *titles):
        """Enters peers as destinations that may call, too, and lets the node notice."""
        for title in titles:
            address = f"127.0.0.1:{self.port(title)}"
            self.operate("peer", "add", title, address, "--may", "store,read,worklist")
        time.sleep(6)

    def qianli(self, command, title, *arguments, ok=True, port=None):
        """Our own client against a peer."""
        peer = f"{title}@127.0.0.1:{port or self.port(title)}"
        return self.run([self.binary, command, peer, *arguments], ok=ok)

    def run(self, command, ok=True, cwd=None, seconds=120, env=None):
        """Runs to the end and returns what was printed; fails with it unless the exit code is 0."""
        command = [str(part) for part in command]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             cwd=cwd or self.folder, env=environment() | (env or {}), timeout=seconds)
        text = ran.stdout.decode("utf-8", "replace")
        if ok:
            words = f"`{Path(command[0]).name} {command[1]}` ended with {ran.returncode}: {tail(text)}"
            expect(ran.returncode == 0, words)
        self.code = ran.returncode
        return text

    def start(self, command, name, port, cwd=None, env=None, seconds=60):
        """Starts a server and waits until it listens."""
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=log, stderr=log,
                                       cwd=cwd or self.folder, env=environment() | (env or {}), start_new_session=True)
        self.processes.append(process)

        def up():
            expect(process.poll() is None, f"{name} ended with {process.poll()}: {tail(self.log_of(name))}")
            return listens(port)

        eventually(f"{name} listens", seconds, up)
        return process

    def log_of(self, name):
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def stop(self):
        for process in reversed(self.processes):
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    try:
                        # Servers that fork for each association are groups of their own.
                        os.killpg(process.pid, number)
                        process.wait(10)
                    except (ProcessLookupError, subprocess.TimeoutExpired):
                        continue
        self.processes.clear()

    # HTTP, for looking at what arrived and for Orthanc.

    def request(self, url, body=None, method=None, accept=None):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if accept:
            headers["Accept"] = accept
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def json(self, url, body=None, method=None):
        try:
            return json.loads(self.request(url, body, method) or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{url} answers {error.code}: {tail(error.read().decode('utf-8', 'replace'))}") from error

    def status(self, path):
        try:
            self.request(self.http + path)
            return 200
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    # Studies.

    def _samples(self):
        with open(ROOT / "sample-dicom" / "manifest.tsv", encoding="utf-8", newline="") as table:
            rows = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
            return {row["file"]: row for row in rows}

    def study(self, *files):
        """A study of its own, with new UIDs and a new patient ID, made of samples. Without names: three
        slices with a Chinese name in GB18030, and a report in UTF-8."""
        files = files or ("ct-chest/001.dcm", "ct-chest/002.dcm", "ct-chest/003.dcm", "sr-report/001.dcm")
        self.numbers += 1
        folder = self.folder / f"study-{self.numbers}"
        folder.mkdir()
        study = Study(folder, generate_uid(), f"IOP-{self.numbers:03}", self.samples[files[0]]["patient_name_utf8"])
        series = {}
        for number, name in enumerate(files):
            content = pydicom.dcmread(ROOT / "sample-dicom" / name)
            content.StudyInstanceUID = study.uid
            content.SeriesInstanceUID = series.setdefault(content.SeriesInstanceUID, generate_uid())
            content.SOPInstanceUID = generate_uid()
            content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
            content.PatientID = study.patient
            content.StudyID = ""
            path = folder / f"{number:03}.dcm"
            content.save_as(path)
            study.objects.append(Object(path, study.uid, str(content.SeriesInstanceUID), str(content.SOPInstanceUID),
                                        str(content.SOPClassUID), str(content.file_meta.TransferSyntaxUID)))
        return study

    def with_jpeg(self):
        """As `study`, with a JPEG film of ultrasound."""
        return self.study("ct-chest/001.dcm", "ct-chest/002.dcm", "mr-brain/001.dcm", "us-heart/001.dcm")

    def keep(self, study):
        """Puts a study into the archive by our own sender."""
        self.qianli("send", AET, study.folder, port=self.dimse)
        return study

    def place(self, name):
        """A new empty folder."""
        self.numbers += 1
        folder = self.folder / f"{name}-{self.numbers}"
        folder.mkdir()
        return folder

    # Proof.

    def here(self, study):
        """Says how the node holds a study, or fails."""
        listed = self.json(f"{self.http}/dicom-web/studies/{study.uid}/instances") or []
        expect(len(listed) == study.count(), f"the archive has {len(listed)} of {study.count()} objects")
        target = self.place("back")
        for one in study.objects:
            url = f"{self.http}/dicom-web/studies/{one.study}/series/{one.series}/instances/{one.uid}"
            (target / f"{one.uid}.dcm").write_bytes(
                self.request(url, accept="application/dicom; transfer-syntax=*"))
        return arrived(study, target)


def arrived(study, folder):
    """Compares the files below a folder with what was made, and says how they are the same, or fails."""
    found = {}
    for path in Path(folder).rglob("*"):
        if path.is_file():
            try:
                content = pydicom.dcmread(path, force=True)
                found.setdefault(str(content.get("SOPInstanceUID", "")), (path, content))
            except Exception:  # What is no DICOM file is not ours.
                continue
    lost = [one for one in study.objects if one.uid not in found]
    expect(not lost, f"{len(lost)} of {study.count()} objects did not arrive")
    tally = {}
    for one in study.objects:
        path, content = found[one.uid]
        how = likeness(one, path, content)
        tally[how] = tally.get(how, 0) + 1
    return f"{study.count()} objects: " + ", ".join(f"{count} {how}" for how, count in sorted(tally.items()))


def likeness(made, path, came):
    if data_set(made.path) == data_set(path):
        return "byte for byte"
    sent = pydicom.dcmread(made.path)
    syntax = str(came.file_meta.get("TransferSyntaxUID", "")) if hasattr(came, "file_meta") else ""
    decoded = pydicom.uid.UID(made.syntax).is_compressed and syntax != made.syntax
    wrong = list(differences(sent, came, decoded))
    expect(not wrong, f"{path.name}: {'; '.join(wrong[:3])}")
    if decoded:
        frames = int(came.get("NumberOfFrames", 1) or 1)
        size = came.Rows * came.Columns * came.SamplesPerPixel * (came.BitsAllocated // 8) * frames
        expect(len(came.PixelData) in (size, size + 1), f"{len(came.PixelData)} bytes of pixels, not {size}")
        return "decoded for it"
    return "element for element" if syntax == made.syntax else "element for element in another transfer syntax"


# What says how pixels are kept changes with them.
OF_PIXELS = {0x00280002, 0x00280004, 0x00280006, 0x00082111, 0x00089215, 0x7FE00001, 0x7FE00002, 0x7FE00010}


def differences(one, other, decoded, where=""):
    def counts(tag):
        padding = tag.element == 0 or tag.group == 2 or tag == 0xFFFCFFFC
        return not padding and not (decoded and int(tag) in OF_PIXELS)

    for tag in sorted({tag for tag in [*one.keys(), *other.keys()] if counts(tag)}):
        if tag not in one or tag not in other:
            yield f"{where}{tag} only in what {'was sent' if tag in one else 'came'}"
            continue
        left, right = one[tag], other[tag]
        if left.VR == "SQ":
            if len(left.value) != len(right.value):
                yield f"{where}{tag}: {len(left.value)} items became {len(right.value)}"
            for pair in zip(left.value, right.value):
                yield from differences(*pair, decoded, f"{where}{tag}.")
        elif left.value != right.value and str(left.value) != str(right.value):
            yield f"{where}{tag}: {str(left.value)[:40]!r} became {str(right.value)[:40]!r}"


def data_set(path):
    """The encoded data set of a file, after its file meta information."""
    content = Path(path).read_bytes()
    at = 132 if content[128:132] == b"DICM" else 0
    while content[at : at + 2] == b"\x02\x00":
        if content[at + 4 : at + 6] in (b"OB", b"UN", b"UT", b"OW"):
            at += 12 + int.from_bytes(content[at + 8 : at + 12], "little")
        else:
            at += 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    return content[at:]


def answers(text):
    """The lines of DICOM JSON that `qianli find` prints."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def value(answer, tag):
    first = (answer.get(tag, {}).get("Value") or [""])[0]
    return "=".join(first.values()) if isinstance(first, dict) else first


def order(bench, accession, station):
    """Enters an order and returns its number."""
    made = bench.json(bench.http + "/api/orders", {
        "patient": {"id": f"P-{accession}", "name": "Li^Si=李^四", "birth_date": "19700101", "sex": "F"},
        "accession": accession,
        "procedure": {"description": "Chest"},
        "steps": [{"modality": "CT", "station_ae": station, "start_date": "20261123", "start_time": "1000"}],
    })
    return made["id"]


def program(name):
    found = shutil.which(name)
    if not found:
        raise Missing(f"{name} is not installed")
    return found
