#!/usr/bin/env python3
"""Pictures and frames over DICOMweb, peers side by side, through the kit's helpers.

    pictures.py --kit FOLDER --data FOLDER --peer a/peer.json … [--rounds N] [--repeat N]
                [--frames 300] [--json FILE]

Each peer holds the studies of --data already (load_store.py does it). Measured, on one kept connection:

rendered     a CT slice as JPEG, another slice each time
thumbnail    a study's thumbnail: first, and again. A peer without thumbnails of studies is asked for what
             a client would do then: its series, an instance of one, that instance rendered small
frame        frames 1, the middle one and the last of a compressed cine, as stored; and of one that is ten
             times longer. The cines are made here (JPEG baseline) and stored by STOW-RS
"""

import argparse
import http.client
import io
import json
import os
import pathlib
import sys
import time
import urllib.parse

import numpy
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import generate_uid

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
AS_STORED = f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}'
JSON = "application/dicom+json"
SIDE = 512
DIFFERENT = 30  # Frames that are drawn; longer cines repeat them.


class Client:
    """One kept connection to a peer's DICOMweb."""

    def __init__(self, peer):
        url = urllib.parse.urlsplit(peer["web"])
        self.root = url.path
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)

    def ask(self, path, accept, body=None, kind=None):
        """Status, body and milliseconds of a request."""
        headers = {"Accept": accept}
        if kind:
            headers["Content-Type"] = kind
        for last in (False, True):
            begun = time.monotonic()
            try:
                self.connection.request("POST" if body else "GET", self.root + path, body=body, headers=headers)
                answer = self.connection.getresponse()
                content = answer.read()
                return answer.status, content, (time.monotonic() - begun) * 1e3
            except ConnectionError:
                # Peers close connections that were idle while we waited for a quiet machine.
                self.connection.close()
                if last:
                    raise


def cine(frames):
    """A file of so many JPEG frames, and the path of its instance."""
    random = numpy.random.default_rng(5)
    ground = random.normal(110, 22, (SIDE // 8, SIDE // 8))
    drawn = []
    for number in range(min(frames, DIFFERENT)):
        picture = numpy.kron(numpy.roll(ground, number, axis=1), numpy.ones((8, 8))) + random.normal(0, 6, (SIDE, SIDE))
        out = io.BytesIO()
        Image.fromarray(picture.clip(0, 255).astype("uint8")).save(out, "JPEG", quality=85)
        drawn.append(out.getvalue())
    data_set = Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(data_set, keyword, generate_uid(entropy_srcs=[f"qianli bench {frames} {keyword}"]))
    data_set.PatientName, data_set.PatientID = "BENCH^CINE", f"CINE-{frames}"
    data_set.StudyDate, data_set.StudyTime, data_set.StudyID = "20260101", "120000", "1"
    data_set.AccessionNumber, data_set.ReferringPhysicianName = "", ""
    data_set.PatientBirthDate, data_set.PatientSex = "", ""
    data_set.Modality, data_set.SeriesNumber, data_set.InstanceNumber = "US", 1, 1
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.Rows = data_set.Columns = SIDE
    data_set.BitsAllocated = data_set.BitsStored = 8
    data_set.HighBit, data_set.PixelRepresentation = 7, 0
    data_set.NumberOfFrames = frames
    data_set.LossyImageCompression = "01"
    data_set.PixelData = encapsulate([drawn[number % DIFFERENT] for number in range(frames)])
    data_set["PixelData"].is_undefined_length = True
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = JPEG_BASELINE
    out = io.BytesIO()
    pydicom.dcmwrite(out, data_set, enforce_file_format=True)
    path = f"/studies/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}/instances/{data_set.SOPInstanceUID}"
    return out.getvalue(), path


def store(client, content):
    """STOW-RS of one file; a peer that cannot take it is a failure of the run."""
    body = b"--BOUND\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--BOUND--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=BOUND'
    status, answer, _ = client.ask("/studies", JSON, body, kind)
    if status != 200:
        sys.exit(f"a cine was not stored: {status} {answer[:200]}")


def thumbnail(client, study):
    """Milliseconds for a picture of a study of at most 256 pixels, whether it came, and how."""
    status, content, spent = client.ask(f"/studies/{study}/thumbnail", "image/jpeg")
    if status == 200:
        return spent, content[:2] == b"\xff\xd8", "thumbnail"
    total = 0.0
    path = f"/studies/{study}"
    for level, tag in (("series", "0020000E"), ("instances", "00080018")):
        status, content, spent = client.ask(f"{path}/{level}?limit=1", JSON)
        total += spent
        path += f"/{level}/{json.loads(content)[0][tag]['Value'][0]}"
    status, content, spent = client.ask(f"{path}/rendered?viewport=256,256", "image/jpeg")
    return total + spent, status == 200 and content[:2] == b"\xff\xd8", "search and render"


def measure(meter, peer, row, work):
    """Runs `work`, which gives (milliseconds, right) pairs, and fills a row with what it cost."""
    from peerlib import pct

    with meter(peer) as metered:
        pairs = list(work())
    times = [spent for spent, _ in pairs]
    row.update(metered.result())
    row.update(
        requests=len(times),
        bad=sum(not right for _, right in pairs),
        p50_ms=round(pct(times, 0.5), 3),
        p99_ms=round(pct(times, 0.99), 3),
        cpu_ms_per_req=round(1e3 * row["cpu_s"] / len(times), 3),
    )
    return row


def main():
    """Measures every peer in turn within each round."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kit", required=True)
    options.add_argument("--data", required=True)
    options.add_argument("--peer", action="append", required=True)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--repeat", type=int, default=40)
    options.add_argument("--frames", type=int, default=300)
    options.add_argument("--json", type=pathlib.Path, required=True)
    asked = options.parse_args()
    sys.path.insert(0, asked.kit)
    from peerlib import Meter, load_peer, manifest, wait_quiet

    studies = manifest(asked.data)
    longest = max((s for s in studies if s["modality"] == "CT"), key=lambda s: len(s["series"][0]["instances"]))
    series = longest["series"][0]
    slices = [f"/studies/{longest['study']}/series/{series['uid']}/instances/{one[0]}" for one in series["instances"]]
    cines = {"": asked.frames, " of a ten times longer cine": asked.frames * 10}
    paths = {}
    for name, frames in cines.items():
        content, paths[name] = cine(frames)
        print(f"a cine of {frames} frames: {len(content) / 1e6:.0f} MB", flush=True)
        for file in asked.peer:
            store(Client(load_peer(file)), content)

    def emit(row):
        print(json.dumps(row), flush=True)
        with asked.json.open("a") as out:
            out.write(json.dumps(row) + "\n")

    for round_ in range(asked.rounds):
        for file in asked.peer:
            peer = load_peer(file)
            client = Client(peer)

            def row(test):
                return {"peer": peer["name"], "round": round_, "test": test, "busy_before": wait_quiet()}

            def rendered():
                for number in range(asked.repeat):
                    path = slices[(number * 7 + round_) % len(slices)]
                    status, content, spent = client.ask(f"{path}/rendered", "image/jpeg")
                    yield spent, status == 200 and content[:2] == b"\xff\xd8"

            emit(measure(Meter, peer, row("rendered"), rendered))
            # Another study each round, so that its first thumbnail is a first one.
            others = [s["study"] for s in studies if s["study"] != longest["study"]]
            study = ([longest["study"]] + others)[round_ % (1 + len(others))]
            for test, count in (("thumbnail first", 1), ("thumbnail again", asked.repeat)):
                new = row(test)
                ways = set()

                def thumbnails():
                    for _ in range(count):
                        spent, right, way = thumbnail(client, study)
                        ways.add(way)
                        yield spent, right

                measured = measure(Meter, peer, new, thumbnails)
                emit({**measured, "way": ", ".join(sorted(ways))})
            for name, frames in cines.items():
                for place, number in (("first", 1), ("middle", frames // 2), ("last", frames)):
                    few = max(3, asked.repeat // 4)

                    def one_frame():
                        for _ in range(few):
                            status, content, spent = client.ask(f"{paths[name]}/frames/{number}", AS_STORED)
                            yield spent, status == 200 and b"\xff\xd8\xff" in content[:2000]

                    emit(measure(Meter, peer, row(f"frame {place}{name}"), one_frame))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    main()
