//! Media types of compressed frames (PS3.18 tables 8.7.3-4 and 8.7.3-5).

use qianli_model::TransferSyntax;

/// Uncompressed pixels and everything without a type of its own.
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// Media types under which frames of a syntax go out: the standard's first, then spellings that
/// clients in the field use for the same thing.
pub(crate) fn of_frames(syntax: TransferSyntax) -> &'static [&'static str] {
    match syntax.uid() {
        "1.2.840.10008.1.2.5" => &["image/dicom-rle", "image/x-dicom-rle"],
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => &["image/jls", "image/x-jls"],
        "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => &["image/jp2"],
        "1.2.840.10008.1.2.4.92" | "1.2.840.10008.1.2.4.93" => &["image/jpx"],
        "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => {
            &["image/jxl"]
        }
        "1.2.840.10008.1.2.4.201" | "1.2.840.10008.1.2.4.202" | "1.2.840.10008.1.2.4.203" => {
            &["image/jphc"]
        }
        "1.2.840.10008.1.2.4.107" | "1.2.840.10008.1.2.4.108" => &["video/h265"],
        uid => match uid.strip_prefix("1.2.840.10008.1.2.4.").map(|rest| rest.split('.').next()) {
            Some(Some("100" | "101")) => &["video/mpeg", "video/mpeg2"],
            Some(Some("102" | "103" | "104" | "105" | "106")) => &["video/mp4"],
            Some(Some(
                "50" | "51" | "52" | "53" | "54" | "55" | "56" | "57" | "58" | "59" | "60" | "61"
                | "62" | "63" | "64" | "65" | "66" | "70",
            )) => &["image/jpeg"],
            _ => &[OCTET_STREAM],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_tables() {
        for (uid, media) in [
            ("1.2.840.10008.1.2.4.50", "image/jpeg"),
            ("1.2.840.10008.1.2.4.70", "image/jpeg"),
            ("1.2.840.10008.1.2.4.80", "image/jls"),
            ("1.2.840.10008.1.2.4.91", "image/jp2"),
            ("1.2.840.10008.1.2.4.203", "image/jphc"),
            ("1.2.840.10008.1.2.4.100.1", "video/mpeg"),
            ("1.2.840.10008.1.2.4.102", "video/mp4"),
            ("1.2.840.10008.1.2.5", "image/dicom-rle"),
            ("1.2.840.10008.1.2.8.1", OCTET_STREAM),
        ] {
            let syntax = TransferSyntax::from_uid(uid).expect("a registered syntax");
            assert_eq!(of_frames(syntax).first(), Some(&media), "{uid}");
        }
    }
}
