"""pynetdicom over TLS: stores an object. Arguments: port, authority, and our certificate and key if any."""

import ssl
import sys

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context

from common import TITLE

SYNTAX = "1.2.840.10008.1.2.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def instance():
    data_set = Dataset()
    data_set.SOPClassUID = CAPTURE
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(data_set, name, generate_uid())
    data_set.PatientID = "TLS"
    data_set.Modality = "OT"
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = SYNTAX
    return data_set


def main():
    port, authority = int(sys.argv[1]), sys.argv[2]
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = context.maximum_version = version
        if len(sys.argv) > 3:
            context.load_cert_chain(sys.argv[3], sys.argv[4])
        ae = AE(ae_title="PYNETDICOM")
        ae.requested_contexts = [build_context(CAPTURE, SYNTAX)]
        association = ae.associate("127.0.0.1", port, ae_title=TITLE, tls_args=(context, "localhost"))
        assert association.is_established, f"no association over {version.name}"
        status = association.send_c_store(instance())
        assert status and status.Status == 0, f"{version.name}: {status}"
        association.release()
        print(f"stored over {version.name}")


main()
