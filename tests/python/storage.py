"""pynetdicom as a sender: a private SOP class, every storage class it knows, every uncompressed syntax."""

from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid
from dicomweb_client.api import DICOMwebClient
from pynetdicom import AE, StoragePresentationContexts, build_context

from common import DICOMWEB, PORT, TITLE, differences

PRIVATE = "1.2.826.0.1.3680043.10.1459.99.7"
IMPLICIT = "1.2.840.10008.1.2"
UNCOMPRESSED = ["1.2.840.10008.1.2.1", IMPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]


def instance(sop_class, syntax):
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.SOPClassUID = sop_class
    data_set.SOPInstanceUID = generate_uid()
    data_set.StudyInstanceUID = generate_uid()
    data_set.SeriesInstanceUID = generate_uid()
    data_set.PatientName = "王^小东"
    data_set.PatientID = "P-1"
    data_set.Modality = "OT"
    data_set.StudyDate = ""
    data_set.NumberOfFrames = 7
    item = Dataset()
    item.CodeValue = "1"
    item.CodeMeaning = "胸部"
    data_set.ProcedureCodeSequence = [item, Dataset()]
    block = data_set.private_block(0x0099, "QIANLI TEST", create=True)
    block.add_new(0x01, "LO", "private")
    block.add_new(0x02, "FD", [1.5, -2.25])
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set.file_meta.MediaStorageSOPClassUID = sop_class
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    return data_set


def main():
    client = DICOMwebClient(DICOMWEB)
    for sop_class in (PRIVATE, "1.2.840.10008.5.1.4.1.1.7"):
        for syntax in UNCOMPRESSED:
            ae = AE(ae_title="PYNETDICOM")
            ae.requested_contexts = [build_context(sop_class, syntax)]
            association = ae.associate("127.0.0.1", PORT, ae_title=TITLE, max_pdu=4096)
            assert association.is_established, "no association"
            sent = instance(sop_class, syntax)
            status = association.send_c_store(sent)
            assert status and status.Status == 0, f"{sop_class} {syntax}: {status}"
            association.release()
            back = client.retrieve_instance(
                sent.StudyInstanceUID,
                sent.SeriesInstanceUID,
                sent.SOPInstanceUID,
                media_types=(("application/dicom", "*"),),
            )
            assert back.file_meta.TransferSyntaxUID == syntax, back.file_meta.TransferSyntaxUID
            # Encoded and read again: Implicit VR does not carry the VR of private elements.
            encoded = BytesIO()
            dcmwrite(encoded, sent, enforce_file_format=True)
            wrong = list(differences(dcmread(BytesIO(encoded.getvalue())), back))
            assert not wrong, wrong

    ae = AE(ae_title="PYNETDICOM")
    ae.requested_contexts = StoragePresentationContexts[:128]
    proposed = len(ae.requested_contexts)
    association = ae.associate("127.0.0.1", PORT, ae_title=TITLE)
    accepted = len(association.accepted_contexts)
    refused = [context.abstract_syntax.name for context in association.rejected_contexts]
    if refused:
        association.release()
        raise AssertionError(f"{accepted} of {proposed} contexts accepted, not {refused}")
    for _ in range(20):
        sent = instance("1.2.840.10008.5.1.4.1.1.2", IMPLICIT)
        status = association.send_c_store(sent)
        assert status and status.Status == 0, status
    association.release()
    print("pynetdicom: private class, uncompressed syntaxes and many contexts stored")


main()
