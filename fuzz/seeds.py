"""Writes the seeds of the corpora: small, made here, of nobody. Run it again when a reader learns more.

Needs pydicom and pynetdicom (the Python clients of the tests).
"""

from io import BytesIO
from pathlib import Path

from pydicom import config, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from pynetdicom import build_context, evt
from pynetdicom.dimse_messages import (
    C_CANCEL_RQ, C_ECHO_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_STORE_RQ, C_STORE_RSP,
    N_ACTION_RQ, N_CREATE_RQ, N_DELETE_RQ, N_EVENT_REPORT_RQ, N_GET_RQ, N_SET_RQ,
)
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

# Command fields (PS3.7 table E.1-1).
FIELDS = {
    "c_store_rq": 0x0001, "c_store_rsp": 0x8001, "c_get_rq": 0x0010, "c_find_rq": 0x0020,
    "c_move_rq": 0x0021, "c_echo_rq": 0x0030, "n_event_report_rq": 0x0100, "n_get_rq": 0x0110,
    "n_set_rq": 0x0120, "n_action_rq": 0x0130, "n_create_rq": 0x0140, "n_delete_rq": 0x0150,
    "c_cancel_rq": 0x0FFF,
}

HERE = Path(__file__).parent / "corpus"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE


def keep(target, name, data):
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def associate_request(extra):
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "CT1", "QIANLI"
    contexts = [build_context("1.2.840.10008.1.1"), build_context(STUDY_FIND), build_context(CTImageStorage)]
    for index, context in enumerate(contexts):
        context.context_id = 2 * index + 1
    primitive.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = "1.2.3"
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "SEED"
    primitive.user_information = [length, implementation, version, *extra]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def user_information():
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 8
    window.maximum_number_operations_performed = 1
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CTImageStorage, True, True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = STUDY_FIND
    extended.service_class_application_information = b"\x01\x01\x01\x01"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = "1.2.3.4.5", "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = [CTImageStorage]
    identities = []
    for kind, first, second in [(1, b"who", b""), (2, b"who", b"secret"), (5, b"a.b.c", b"")]:
        identity = UserIdentityNegotiation()
        identity.user_identity_type, identity.primary_field = kind, first
        if second:
            identity.secondary_field = second
        identity.positive_response_requested = True
        identities.append(identity)
    return [[], [window], [role], [extended], [common], *([one] for one in identities),
            [window, role, extended, common, identities[1]]]


def messages():
    for kind in [C_CANCEL_RQ, C_ECHO_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_STORE_RQ, C_STORE_RSP,
                 N_ACTION_RQ, N_CREATE_RQ, N_DELETE_RQ, N_EVENT_REPORT_RQ, N_GET_RQ, N_SET_RQ]:
        command = kind().command_set
        values = {
            "AffectedSOPClassUID": CTImageStorage, "RequestedSOPClassUID": CTImageStorage,
            "AffectedSOPInstanceUID": "1.2.3.4", "RequestedSOPInstanceUID": "1.2.3.4",
            "MessageID": 7, "MessageIDBeingRespondedTo": 7, "Priority": 0, "Status": 0,
            "CommandDataSetType": 1, "MoveDestination": "WS1", "EventTypeID": 1, "ActionTypeID": 1,
            "MoveOriginatorApplicationEntityTitle": "WS2", "MoveOriginatorMessageID": 3,
            "AttributeIdentifierList": [0x00100010], "ErrorComment": "none",
            "NumberOfRemainingSuboperations": 1, "NumberOfCompletedSuboperations": 1,
            "NumberOfFailedSuboperations": 1, "NumberOfWarningSuboperations": 1,
        }
        command.CommandField = FIELDS[kind.__name__.lower()]
        for keyword, value in values.items():
            if keyword in command:
                setattr(command, keyword, value)
        yield kind.__name__.lower(), encode_command(command)


def encode_command(command):
    present = Dataset()
    for element in command:
        if element.tag != 0x00000000 and element.value not in (None, ""):
            present.add(element)
    body = encode(present, True, True)
    group = Dataset()
    group.CommandGroupLength = len(body)
    return encode(group, True, True) + body


def objects():
    ds = Dataset()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientName, ds.PatientID = "Nobody^None=无名氏", "0"
    ds.StudyDate, ds.StudyTime, ds.Modality = "20260101", "120000", "CT"
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "none"
    inner = Dataset()
    inner.ConceptNameCodeSequence = Sequence([item])
    ds.ContentSequence = Sequence([inner, Dataset()])
    ds.ContentSequence.is_undefined_length = True
    ds.add_new(0x00091001, "UN", b"private")
    ds.add_new(0x00090010, "LO", "CREATOR")
    ds.Rows = ds.Columns = 2
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 7, 0, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    for name, syntax in [("implicit", ImplicitVRLittleEndian), ("explicit", ExplicitVRLittleEndian),
                         ("big", ExplicitVRBigEndian), ("deflated", DeflatedExplicitVRLittleEndian),
                         ("encapsulated", JPEGBaseline8Bit)]:
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        if syntax.is_encapsulated:
            fragment = b"\xfe\xff\x00\xe0\x04\x00\x00\x00"
            ds.PixelData = fragment[:4] + b"\0\0\0\0" + fragment + b"\xff\xd8\xff\xd9"
            ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        else:
            ds.PixelData = b"\x00\x01\x02\x03"
            ds["PixelData"].VR = "OW" if syntax is ImplicitVRLittleEndian else "OB"
            ds["PixelData"].is_undefined_length = False
        out = BytesIO()
        dcmwrite(out, ds, enforce_file_format=True)
        yield name, out.getvalue()


def main():
    requests = [associate_request(extra) for extra in user_information()]
    commands = dict(messages())
    release, abort = A_RELEASE_RQ().encode(), A_ABORT_RQ()
    abort.source, abort.reason_diagnostic = 0, 0
    for number, request in enumerate(requests):
        keep("pdu", f"associate_{number}", b"\x10" + request)
    for name, command in commands.items():
        keep("command", name, command)
    echo = commands["c_echo_rq"]
    value = (len(echo) + 2).to_bytes(4, "big") + b"\x01\x03" + echo
    p_data = b"\x04\x00" + len(value).to_bytes(4, "big") + value
    keep("pdu", "conversation", b"\x06" + requests[0] + p_data + p_data + release)
    keep("pdu", "abort", b"\x02" + requests[1] + abort.encode())
    for name, data in objects():
        keep("data_set", name, data)
    keep("dicom_json", "one.json", b'[{"00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B"}]},"00080005":{"vr":"CS","Value":["ISO_IR 192"]}}]')
    keep("dicom_json", "one.xml", b'<?xml version="1.0"?><NativeDicomModel><DicomAttribute tag="00100020" vr="LO" keyword="PatientID"><Value number="1">0</Value></DicomAttribute></NativeDicomModel>')
    order = (
        "MSH|^~\\&|A|B|C|D|20260101||ORM^O01|1|P|2.5||||||{}\r"
        "PID|1||0^^^X^MR||Nobody^None^^^^^^A~无名氏^^^^^^^I||19700101|M\r"
        "ORC|NW|1|2\rTQ1|||||||202601011200||S\rOBR|1|1|2|C^\\T\\^L||||||||||||||A|R|S|T|||CT\r"
    )
    for name, encoding in [("UNICODE UTF-8", "utf-8"), ("GB 18030-2000", "gb18030")]:
        text = order.format(name).encode(encoding)
        keep("hl7", f"order_{encoding}", b"\x0b" + text + b"\x1c\r")
        keep("hl7", f"bare_{encoding}", text)
    query = Dataset()
    query.SpecificCharacterSet = "GB18030"
    query.PatientName, query.Modality = "无名氏*", "CT"
    query.ScheduledProcedureStepSequence = Sequence([Dataset()])
    for number, (implicit, little) in enumerate([(True, True), (False, True), (False, False)]):
        keep("identifier", f"query_{number}", bytes([number]) + encode(query, implicit, little))
    keep("multipart", "two", b"\x08--ab\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--ab\r\nContent-Type: text/plain\r\n\r\n\r\n--ab--\r\n")


if __name__ == "__main__":
    main()
