//! Files as they should be, and as they are.

use super::*;
use crate::dataset::SliceSource;
use crate::uid::SopInstanceUid;

const CLASS: &str = "1.2.840.10008.5.1.4.1.1.2";

fn written() -> Vec<u8> {
    write(CLASS, "1.2.3", TransferSyntax::EXPLICIT_LITTLE, Some("CT1"))
}

fn check_own(bytes: &[u8], offset: usize) {
    let meta = from_bytes(bytes).unwrap();
    assert_eq!(meta.transfer_syntax, Some(TransferSyntax::EXPLICIT_LITTLE));
    assert_eq!(meta.media_storage_sop_class.as_deref(), Some(CLASS));
    assert_eq!(meta.media_storage_sop_instance.as_deref(), Some("1.2.3"));
    assert_eq!(meta.source_ae.as_deref(), Some("CT1"));
    assert_eq!(meta.implementation_class.as_deref(), Some(IMPLEMENTATION_CLASS_UID));
    assert_eq!(meta.data_set_offset, offset as u64);
    assert_eq!(read(&mut SliceSource::new(bytes)).unwrap(), meta);
}

#[test]
fn what_is_written_is_read() {
    let file = written();
    check_own(&file, file.len());
    assert!(file.starts_with(&[0; 128]));
    let length = u32::from_le_bytes(file[140..144].try_into().unwrap());
    assert_eq!(length as usize, file.len() - 144, "group length");
    assert!(SopInstanceUid::parse(IMPLEMENTATION_CLASS_UID).is_ok());
    assert!(IMPLEMENTATION_CLASS_UID.len() <= 64 && IMPLEMENTATION_VERSION_NAME.len() <= 16);
}

#[test]
fn a_missing_preamble_or_a_wrong_group_length_does_not_matter() {
    let file = written();
    let mut with_data = file.clone();
    with_data.extend_from_slice(b"\x08\x00\x16\x00UI\x04\x001.2\0");
    check_own(&with_data, file.len());
    check_own(&with_data[132..], file.len() - 132);
    check_own(&with_data[128..], file.len() - 128);
    let mut wrong = with_data.clone();
    wrong[140] = 7;
    check_own(&wrong, file.len());
    let mut without = with_data[..132].to_vec();
    without.extend_from_slice(&with_data[144..]);
    check_own(&without, file.len() - 12);
}

#[test]
fn long_private_information_is_skipped() {
    let mut file = written();
    file.extend_from_slice(b"\x02\x00\x02\x01OB\x00\x00\x00\x00\x01\x00");
    file.extend_from_slice(&[7; 0x1_0000]);
    let offset = file.len();
    file.extend_from_slice(b"\x08\x00\x16\x00UI\x04\x001.2\0");
    check_own(&file, offset);
}

#[test]
fn undeclared_encodings_are_recognised() {
    let explicit = b"\x08\x00\x05\x00CS\x0A\x00ISO_IR 100\x08\x00\x16\x00UI\x04\x001.2\0\x08\x00\x18\x00UI\x04\x001.3\0";
    let big = b"\x00\x08\x00\x05CS\x00\x0AISO_IR 100\x00\x08\x00\x16UI\x00\x041.2\0\x00\x08\x00\x18UI\x00\x041.3\0";
    let implicit = b"\x08\x00\x05\x00\x0A\x00\x00\x00ISO_IR 100\x08\x00\x16\x00\x04\x00\x00\x001.2\0\x08\x00\x18\x00\x04\x00\x00\x001.3\0";
    for (bytes, uid) in [
        (explicit.as_slice(), "1.2.840.10008.1.2.1"),
        (big.as_slice(), "1.2.840.10008.1.2.2"),
        (implicit.as_slice(), "1.2.840.10008.1.2"),
    ] {
        let meta = from_bytes(bytes).unwrap();
        assert_eq!(meta.transfer_syntax.map(TransferSyntax::uid), Some(uid));
        assert_eq!((meta.data_set_offset, meta.transfer_syntax_uid.as_str()), (0, ""));
        // The same behind file meta information without a transfer syntax.
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM\x02\x00\x16\x00AE\x04\x00CT1 ");
        file.extend_from_slice(bytes);
        let meta = from_bytes(&file).unwrap();
        assert_eq!(meta.transfer_syntax.map(TransferSyntax::uid), Some(uid));
        assert_eq!(meta.data_set_offset, 144);
    }
}

#[test]
fn a_long_first_value_does_not_hide_the_encoding() {
    let mut bytes = b"\x08\x00\x05\x00UT\x00\x00\x00\x00\x01\x00".to_vec();
    bytes.resize(bytes.len() + 0x1_0000, b'x');
    bytes.extend_from_slice(b"\x08\x00\x16\x00UI\x04\x001.2\0");
    let meta = read(&mut SliceSource::new(&bytes)).unwrap();
    assert_eq!(meta.transfer_syntax, Some(TransferSyntax::EXPLICIT_LITTLE));
}

#[test]
fn an_unknown_syntax_is_named_but_not_resolved() {
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM\x02\x00\x10\x00UI\x08\x001.2.3.4\0");
    let meta = from_bytes(&file).unwrap();
    assert_eq!((meta.transfer_syntax, meta.transfer_syntax_uid.as_str()), (None, "1.2.3.4"));
}

#[test]
fn other_files_are_named() {
    for (bytes, name) in [
        (b"".as_slice(), "an empty file"),
        (b"\x89PNG\r\n\x1A\n....", "a PNG image"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"  <!DOCTYPE html>", "an HTML or XML document"),
        (b"%PDF-1.4", "a PDF document"),
        (b"Dear colleague,", "text"),
        (&[0; 600], "nothing but zeros"),
    ] {
        match from_bytes(bytes) {
            Err(FileMetaError::NotDicom { looks_like }) => assert_eq!(looks_like, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn every_truncation_ends_in_an_answer() {
    let file = written();
    for length in 0..file.len() {
        let _ = from_bytes(&file[..length]);
        let _ = read(&mut SliceSource::new(&file[..length]));
    }
}
