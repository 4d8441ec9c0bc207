"""Sends every valid and quirky file of the corpus over DIMSE and gets it back over DICOMweb.

DCMTK sends each file in its own transfer syntax; what it cannot propose or read goes as raw bytes.
Every file is checked right after it was sent, since several files of the corpus carry one SOP Instance
UID with different content and the newest answers.

Writes corpus-dimse-NAME.tsv: file, validity, sender, status, comment, verdict.
"""

import os
import subprocess
import sys
import warnings
from collections import defaultdict

import pydicom
from dicomweb_client.api import DICOMwebClient

from common import ARTIFACTS, DICOMWEB, PORT, TITLE, differences, manifest, read, store_raw

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

SUCCESS = (0x0000, 0xB000, 0xB006, 0xB007)


# dcmsend offers Explicit VR Little Endian first for every uncompressed file; storescu can be told.
STORESCU = {"1.2.840.10008.1.2": "-xi", "1.2.840.10008.1.2.2": "-xb"}


def dcmtk(path, syntax):
    """Returns (sent, tool, words): whether the node answered Success, and what DCMTK said if not."""
    peer = ["-aec", TITLE, "127.0.0.1", str(PORT), path]
    command = ["dcmsend", "-v", "-dn", "-nuc", *peer]
    success = "Received C-STORE Response (Success)"
    if syntax in STORESCU:
        command = ["storescu", "-v", "-R", STORESCU[syntax], *peer]
        success = "Received Store Response (Success)"
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
    words = ran.stdout + ran.stderr
    errors = " / ".join(line for line in words.splitlines() if line[:2] in ("E:", "F:"))
    return ran.returncode == 0 and success in words, command[0], errors


def send(row, path):
    """Returns sender, status (None when there was no answer) and comment."""
    known = row["sop_class_uid"] and row["sop_uid"]
    sent, tool, words = dcmtk(path, row["transfer_syntax_uid"])
    if sent:
        return tool, 0, ""
    if not known:
        return "none", None, "no SOP class or instance UID to send it with"
    # Also when the node refused: the raw bytes tell whether DCMTK's encoding was the reason.
    status, comment = store_raw(path, row["sop_class_uid"], row["sop_uid"].strip())
    return "raw", status, comment or (words if status is None else "")


def name_of(data_set):
    values = data_set.get("00100010", {}).get("Value", [])
    if not values or values[0] is None:
        return ""
    groups = [values[0].get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
    return plain("=".join(groups))


def plain(name):
    groups = [group.rstrip("^ ").strip() for group in name.split("=")]
    return "=".join(groups).rstrip("=")


def check(client, row, path):
    """Returns what is wrong with an instance that the node acknowledged."""
    wrong = []
    sent = read(path)
    uids = [str(sent[tag].value).strip(" \0") for tag in (0x0020000D, 0x0020000E, 0x00080018)]
    rows = client.search_for_instances(search_filters={"SOPInstanceUID": uids[2]})
    if not any(found["00080018"]["Value"] == [uids[2]] for found in rows):
        wrong.append("not found by its SOP Instance UID")
    metadata = client.retrieve_instance_metadata(*uids)
    if row["validity"] == "valid" and name_of(metadata) != plain(row["patient_name_utf8"]):
        wrong.append(f"name {name_of(metadata)!r}, in the manifest {row['patient_name_utf8']!r}")
    back = client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
    syntax = str(back.file_meta.TransferSyntaxUID)
    if row["transfer_syntax_uid"] and syntax != row["transfer_syntax_uid"]:
        return [*wrong, f"came back as {syntax}"]
    return [*wrong, *list(differences(sent, back))[:5]]


def by_name(client, rows):
    """Every study is found by the name that the manifest gives it."""
    names = defaultdict(set)
    for row in rows:
        if row["patient_name_utf8"].strip("^ "):
            names[row["study_uid"].strip(" \0")].add(row["patient_name_utf8"])
    wrong = []
    asked = 0
    for study, alternatives in sorted(names.items()):
        found = False
        for name in alternatives:
            for text in {name, *[group for group in name.split("=") if group.strip("^ ")]}:
                asked += 1
                studies = client.search_for_studies(search_filters={"PatientName": text})
                hit = any(row["0020000D"]["Value"] == [study] for row in studies)
                found = found or hit
                if not hit and len(alternatives) == 1:
                    wrong.append(f"study {study} is not found by {text!r}")
        if not found:
            wrong.append(f"study {study} is found by none of {sorted(alternatives)}")
    print(f"{asked} names asked for, {len(wrong)} not found")
    return wrong


def main():
    folder, name = sys.argv[1:3]
    client = DICOMwebClient(DICOMWEB)
    rows = manifest(folder, ("valid", "quirk"))
    failures, accepted, senders = [], [], defaultdict(int)
    with open(os.path.join(ARTIFACTS, f"corpus-dimse-{name}.tsv"), "w", encoding="utf-8") as table:
        print("file\tvalidity\tsender\tstatus\tcomment\tverdict", file=table)
        for row in rows:
            path = os.path.join(folder, row["file"])
            sender, status, comment = send(row, path)
            wrong = []
            if status in SUCCESS:
                accepted.append(row)
                try:
                    wrong = check(client, row, path)
                    if wrong and sender in ("dcmsend", "storescu"):
                        # DCMTK alters some files on the way: OW to OB, odd lengths, repeated
                        # elements. The bytes as they are tell whether the node altered anything.
                        sender = f"{sender} ({wrong[0]}), raw"
                        status, comment = store_raw(path, row["sop_class_uid"], row["sop_uid"])
                        wrong = check(client, row, path)
                except Exception as error:
                    wrong = [f"{type(error).__name__}: {error}"]
                    if row["validity"] == "quirk" and isinstance(error, ValueError):
                        # dicomweb-client itself refuses to ask for such a UID.
                        comment, wrong = f"not asked for: {error}", []
            elif row["validity"] == "valid":
                wrong = ["a valid file was refused"]
            elif not comment:
                wrong = ["refused without a reason"]
            senders[sender.split(" ")[0]] += 1
            code = "" if status is None else f"0x{status:04X}"
            verdict = "; ".join(wrong) or "ok"
            cells = [row["file"], row["validity"], sender, code, comment, verdict]
            print("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in cells), file=table)
            if wrong:
                failures.append(f"{row['file']} ({sender}, {code} {comment}): {verdict}")
    failures += by_name(client, [row for row in accepted if row["validity"] == "valid"])
    kinds = ", ".join(f"{count} by {sender}" for sender, count in sorted(senders.items()))
    print(f"{len(rows)} files ({kinds}), {len(accepted)} accepted, {len(failures)} failures")
    print("\n".join(failures))
    sys.exit(1 if failures else 0)


main()
