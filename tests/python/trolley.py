"""dicomtrolley's everyday calls: studies found by QIDO-RS at each depth, downloaded by WADO-RS and WADO-URI."""

import tempfile
from pathlib import Path

import pydicom
import requests
from dicomtrolley.core import InstanceReference, Query, QueryLevels, SeriesReference, StudyReference
from dicomtrolley.qido_rs import HierarchicalQuery, QidoRS, RelationalQuery
from dicomtrolley.trolley import Trolley
from dicomtrolley.wado_rs import WadoRS, WadoRSMetaData
from dicomtrolley.wado_uri import WadoURI

from common import DICOMWEB


def main():
    session = requests.Session()
    searcher = QidoRS(session, DICOMWEB)
    downloaders = {
        "WADO-RS by series": WadoRS(session, DICOMWEB),
        "WADO-RS whole": WadoRS(session, DICOMWEB, request_per_series=False),
        "WADO-URI": WadoURI(session, DICOMWEB + "/wado"),
    }
    trolley = Trolley(downloader=downloaders["WADO-RS by series"], searcher=searcher)

    studies = trolley.find_studies(Query(PatientName="YAMADA*"))
    assert len(studies) == 1, studies
    study = trolley.find_study(Query(PatientID="QL-0003", include_fields=["StudyDescription", "NumberOfStudyRelatedInstances"]))
    assert study.uid == studies[0].uid
    deep = trolley.find_study(
        HierarchicalQuery(StudyInstanceUID=study.uid, query_level=QueryLevels.SERIES)
    )
    series = deep.series[0]
    related = trolley.find_studies(RelationalQuery(StudyInstanceUID=study.uid, query_level=QueryLevels.INSTANCE))
    wanted = {instance.uid for found in related for instance in found.all_instances()}
    assert len(wanted) == 12, wanted
    by_series = trolley.find_study(
        HierarchicalQuery(StudyInstanceUID=study.uid, SeriesInstanceUID=series.uid, query_level=QueryLevels.INSTANCE)
    )
    assert {instance.uid for instance in by_series.all_instances()} == wanted

    for name, downloader in downloaders.items():
        trolley = Trolley(downloader=downloader, searcher=searcher)
        with tempfile.TemporaryDirectory() as folder:
            # dicomtrolley asks for the instances itself where the way to download needs them.
            trolley.download(study, folder)
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            read = {pydicom.dcmread(path).SOPInstanceUID for path in files}
        assert read == wanted, f"{name}: {len(read)} of {len(wanted)}"
        print(f"{name}: {len(read)} instances")

    one = sorted(wanted)[0]
    references = [
        StudyReference(study_uid=study.uid),
        SeriesReference(study_uid=study.uid, series_uid=series.uid),
        InstanceReference(study_uid=study.uid, series_uid=series.uid, instance_uid=one),
    ]
    metadata = WadoRSMetaData(session, DICOMWEB)
    for reference, count in zip(references, (12, 12, 1)):
        assert len(list(metadata.datasets(reference))) == count, reference
        whole = Trolley(downloader=downloaders["WADO-RS whole"], searcher=searcher)
        assert len(list(whole.fetch_all_datasets([reference]))) == count, reference
    # Side by side it takes references of instances only.
    several = WadoURI(session, DICOMWEB + "/wado", use_async=True, max_workers=4)
    instances = [InstanceReference(study_uid=study.uid, series_uid=series.uid, instance_uid=uid) for uid in wanted]
    assert {one.SOPInstanceUID for one in several.datasets(instances)} == wanted
    nobody = Trolley(downloader=downloaders["WADO-RS whole"], searcher=searcher)
    assert nobody.find_studies(Query(PatientID="NOBODY")) == []
    print("dicomtrolley: every call answered")


main()
