"""The Python dicomweb-client's everyday calls, each as its documentation shows it, without a workaround."""

import hashlib
import warnings
from io import BytesIO

import numpy
import pydicom
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from requests import HTTPError

from common import DICOMWEB

NATIVE = "1.2.840.10008.1.2.1"
# A warning of the client is something it had to forgive; pydicom's are about our own use of it.
warnings.filterwarnings("error", module="dicomweb_client")


def of_modality(client, modality):
    """The first study with that modality, its series of it and that series' instances."""
    study = client.search_for_studies(search_filters={"ModalitiesInStudy": modality})[0]["0020000D"]["Value"][0]
    series = client.search_for_series(study, search_filters={"Modality": modality})[0]["0020000E"]["Value"][0]
    instances = client.search_for_instances(study, series)
    return study, series, [row["00080018"]["Value"][0] for row in instances]


def search(client):
    studies = client.search_for_studies()
    assert len(studies) >= 4, len(studies)
    paged = [row for at in range(len(studies)) for row in client.search_for_studies(limit=1, offset=at)]
    key = lambda rows: [row["0020000D"]["Value"][0] for row in rows]
    assert key(paged) == key(studies), "pages are another list than the whole"
    assert key(client.search_for_studies(limit=1, get_remaining=True)) == key(studies), "get_remaining"
    named = client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "ZHANG*"})
    assert len(named) == 1, named
    assert client.search_for_studies(search_filters={"PatientID": "NOBODY"}) == []
    fields = client.search_for_studies(fields=["StudyDescription", "00100030"], search_filters={"PatientID": "QL-0001"})
    assert "00081030" in fields[0] and "00100030" in fields[0], fields[0].keys()
    read = pydicom.Dataset.from_json(fields[0])
    assert str(read.PatientName) == "ZHANG^WEI=张^伟", read.PatientName
    assert client.search_for_series() and client.search_for_instances(limit=3)
    study, series, _ = of_modality(client, "CT")
    assert {row["0020000D"]["Value"][0] for row in client.search_for_instances(study)} == {study}
    assert {row["0020000E"]["Value"][0] for row in client.search_for_instances(study, series)} == {series}


def objects(client):
    study, series, instances = of_modality(client, "MR")
    for found in (
        client.retrieve_study(study),
        list(client.iter_study(study)),
        client.retrieve_series(study, series),
        list(client.iter_series(study, series)),
    ):
        assert {item.SOPInstanceUID for item in found} == set(instances)
        assert all(item.file_meta.TransferSyntaxUID == NATIVE for item in found)
    one = client.retrieve_instance(study, series, instances[0])
    same = client.retrieve_instance(study, series, instances[0], media_types=(("application/dicom", "*"),))
    assert one.PixelData == same.PixelData and one.SOPInstanceUID == instances[0]
    assert len(client.retrieve_study_metadata(study)) == len(instances)
    assert len(client.retrieve_series_metadata(study, series)) == len(instances)
    metadata = pydicom.Dataset.from_json(client.retrieve_instance_metadata(study, series, instances[0]))
    assert (metadata.Rows, metadata.Columns) == (one.Rows, one.Columns)


def bulk_data(client):
    study, series, instances = of_modality(client, "MR")
    uri = client.retrieve_instance_metadata(study, series, instances[0])["7FE00010"]["BulkDataURI"]
    stored = client.retrieve_instance(study, series, instances[0]).PixelData
    octets = (("application/octet-stream", NATIVE),)
    for found in (
        client.retrieve_bulkdata(uri),
        list(client.iter_bulkdata(uri)),
        client.retrieve_bulkdata(uri, media_types=("application/octet-stream",)),
        client.retrieve_bulkdata(uri, media_types=octets),
    ):
        assert [hashlib.sha256(item).digest() for item in found] == [hashlib.sha256(stored).digest()]


def frames(client):
    study, series, instances = of_modality(client, "US")
    uids = (study, series, instances[0])
    stored = client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    sent = list(pydicom.encaps.generate_frames(stored.PixelData, number_of_frames=int(stored.NumberOfFrames)))
    last = len(sent)
    for kinds in (
        (("image/jpeg", "1.2.840.10008.1.2.4.50"),),
        ("image/jpeg",),
        (("image/jpeg", "1.2.840.10008.1.2.4.50"), ("application/octet-stream", NATIVE)),
    ):
        found = client.retrieve_instance_frames(*uids, [1, last], media_types=kinds)
        assert [item.rstrip(b"\0") for item in found] == [sent[0].rstrip(b"\0"), sent[-1].rstrip(b"\0")], kinds
    iterated = list(client.iter_instance_frames(*uids, [1, last], media_types=("image/jpeg",)))
    assert len(iterated) == 2

    study, series, instances = of_modality(client, "MR")
    uids = (study, series, instances[0])
    stored = client.retrieve_instance(*uids)
    for kinds in (None, ("application/octet-stream",), (("application/octet-stream", NATIVE),)):
        assert client.retrieve_instance_frames(*uids, [1], media_types=kinds) == [stored.PixelData], kinds
    try:
        client.retrieve_instance_frames(*uids, [2])
        raise AssertionError("a frame that is not there came")
    except HTTPError as error:
        assert error.response.status_code == 404, error


def rendered(client):
    study, series, instances = of_modality(client, "CT")
    uids = (study, series, instances[0])
    stored = client.retrieve_instance(*uids)
    size = (stored.Columns, stored.Rows)

    def opened(content, kind):
        image = Image.open(BytesIO(content))
        image.load()
        assert image.format == kind, (image.format, kind)
        return image

    assert opened(client.retrieve_instance_rendered(*uids), "JPEG").size == size
    assert opened(client.retrieve_instance_rendered(*uids, media_types=("image/png",)), "PNG").size == size
    small = opened(client.retrieve_instance_rendered(*uids, media_types=("image/jpeg",), params={"quality": 20}), "JPEG")
    assert small.size == size
    windows = [
        numpy.asarray(opened(client.retrieve_instance_rendered(*uids, media_types=("image/png",), params={"window": window}), "PNG"))
        for window in ("40,400,linear", "-600,1500,linear")
    ]
    assert (windows[0] != windows[1]).any(), "the window has no effect"
    scaled = client.retrieve_instance_rendered(*uids, media_types=("image/png",), params={"viewport": "64,64"})
    assert max(opened(scaled, "PNG").size) == 64
    study, series, instances = of_modality(client, "US")
    frame = client.retrieve_instance_frames_rendered(study, series, instances[0], [2], media_types=("image/png",))
    assert opened(frame, "PNG").size == (640, 480)
    opened(client.retrieve_instance_frames_rendered(study, series, instances[0], [2]), "JPEG")
    study, series, instances = of_modality(client, "DOC")
    paper = client.retrieve_instance_rendered(study, series, instances[0], media_types=("application/pdf",))
    assert paper.startswith(b"%PDF"), paper[:20]


def store_and_delete(client):
    study, series, instances = of_modality(client, "MR")
    copies = []
    for number in range(3):
        copy = client.retrieve_instance(study, series, instances[number])
        if number == 0:
            new_study, new_series = generate_uid(), generate_uid()
        copy.StudyInstanceUID, copy.SeriesInstanceUID, copy.SOPInstanceUID = new_study, new_series, generate_uid()
        copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
        copy.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        copies.append(copy)
    answer = client.store_instances(copies[:2])
    assert len(answer.ReferencedSOPSequence) == 2 and "FailedSOPSequence" not in answer, answer
    answer = client.store_instances(copies[2:], study_instance_uid=new_study)
    assert answer.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == copies[2].SOPInstanceUID
    back = client.retrieve_series(new_study, new_series)
    assert {item.SOPInstanceUID for item in back} == {item.SOPInstanceUID for item in copies}

    client.delete_instance(new_study, new_series, copies[0].SOPInstanceUID)
    assert len(client.search_for_instances(new_study)) == 2
    client.delete_series(new_study, new_series)
    assert client.search_for_instances(new_study) == []
    client.store_instances(copies)
    client.delete_study(new_study)
    assert client.search_for_studies(search_filters={"StudyInstanceUID": new_study}) == []


def main():
    client = DICOMwebClient(DICOMWEB)
    failed = []
    for call in (search, objects, bulk_data, frames, rendered, store_and_delete):
        try:
            call(client)
        except Exception as error:
            cause = getattr(getattr(error, "response", None), "text", "")
            line = error.__traceback__.tb_next.tb_lineno if error.__traceback__.tb_next else 0
            failed.append(f"{call.__name__}, line {line}: {type(error).__name__}: {error} {cause}")
    print("\n".join(failed) or "dicomweb-client (Python): every call answered")
    raise SystemExit(1 if failed else 0)


main()
