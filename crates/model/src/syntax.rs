//! The transfer syntaxes we keep (PS3.5 section 10 and annex A, PS3.6 table A-1), as data.

use std::fmt;

/// How data elements are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Implicit VR, little endian.
    ImplicitLittle,
    /// Explicit VR, little endian.
    ExplicitLittle,
    /// Explicit VR, big endian (retired, still sent).
    ExplicitBig,
}

#[derive(Debug)]
struct Entry {
    uid: &'static str,
    name: &'static str,
    encoding: Encoding,
    deflated: bool,
    encapsulated: bool,
    lossy: bool,
}

/// A transfer syntax of the registry.
#[derive(Clone, Copy)]
pub struct TransferSyntax(&'static Entry);

const fn native(uid: &'static str, name: &'static str, encoding: Encoding) -> Entry {
    Entry { uid, name, encoding, deflated: false, encapsulated: false, lossy: false }
}

const fn deflated(uid: &'static str, name: &'static str) -> Entry {
    Entry { deflated: true, ..native(uid, name, Encoding::ExplicitLittle) }
}

const fn lossless(uid: &'static str, name: &'static str) -> Entry {
    Entry { encapsulated: true, ..native(uid, name, Encoding::ExplicitLittle) }
}

const fn lossy(uid: &'static str, name: &'static str) -> Entry {
    Entry { lossy: true, ..lossless(uid, name) }
}

static TABLE: &[Entry] = &[
    native("1.2.840.10008.1.2", "Implicit VR Little Endian", Encoding::ImplicitLittle),
    native("1.2.840.10008.1.2.1", "Explicit VR Little Endian", Encoding::ExplicitLittle),
    lossless("1.2.840.10008.1.2.1.98", "Encapsulated Uncompressed Explicit VR Little Endian"),
    deflated("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian"),
    native("1.2.840.10008.1.2.2", "Explicit VR Big Endian", Encoding::ExplicitBig),
    lossy("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)"),
    lossy("1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 and 4)"),
    lossy("1.2.840.10008.1.2.4.52", "JPEG Extended (Process 3 and 5)"),
    lossy("1.2.840.10008.1.2.4.53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)"),
    lossy("1.2.840.10008.1.2.4.54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)"),
    lossy("1.2.840.10008.1.2.4.55", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)"),
    lossy("1.2.840.10008.1.2.4.56", "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)"),
    lossless("1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)"),
    lossless("1.2.840.10008.1.2.4.58", "JPEG Lossless, Non-Hierarchical (Process 15)"),
    lossy("1.2.840.10008.1.2.4.59", "JPEG Extended, Hierarchical (Process 16 and 18)"),
    lossy("1.2.840.10008.1.2.4.60", "JPEG Extended, Hierarchical (Process 17 and 19)"),
    lossy("1.2.840.10008.1.2.4.61", "JPEG Spectral Selection, Hierarchical (Process 20 and 22)"),
    lossy("1.2.840.10008.1.2.4.62", "JPEG Spectral Selection, Hierarchical (Process 21 and 23)"),
    lossy("1.2.840.10008.1.2.4.63", "JPEG Full Progression, Hierarchical (Process 24 and 26)"),
    lossy("1.2.840.10008.1.2.4.64", "JPEG Full Progression, Hierarchical (Process 25 and 27)"),
    lossless("1.2.840.10008.1.2.4.65", "JPEG Lossless, Hierarchical (Process 28)"),
    lossless("1.2.840.10008.1.2.4.66", "JPEG Lossless, Hierarchical (Process 29)"),
    lossless(
        "1.2.840.10008.1.2.4.70",
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])",
    ),
    lossless("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless Image Compression"),
    lossy("1.2.840.10008.1.2.4.81", "JPEG-LS Lossy (Near-Lossless) Image Compression"),
    lossless("1.2.840.10008.1.2.4.90", "JPEG 2000 Image Compression (Lossless Only)"),
    lossy("1.2.840.10008.1.2.4.91", "JPEG 2000 Image Compression"),
    lossless(
        "1.2.840.10008.1.2.4.92",
        "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)",
    ),
    lossy("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2 Multi-component Image Compression"),
    native("1.2.840.10008.1.2.4.94", "JPIP Referenced", Encoding::ExplicitLittle),
    deflated("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate"),
    lossy("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level"),
    lossy("1.2.840.10008.1.2.4.100.1", "Fragmentable MPEG2 Main Profile / Main Level"),
    lossy("1.2.840.10008.1.2.4.101", "MPEG2 Main Profile / High Level"),
    lossy("1.2.840.10008.1.2.4.101.1", "Fragmentable MPEG2 Main Profile / High Level"),
    lossy("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    lossy("1.2.840.10008.1.2.4.102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    lossy("1.2.840.10008.1.2.4.103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
    lossy(
        "1.2.840.10008.1.2.4.103.1",
        "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
    ),
    lossy("1.2.840.10008.1.2.4.104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video"),
    lossy(
        "1.2.840.10008.1.2.4.104.1",
        "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
    ),
    lossy("1.2.840.10008.1.2.4.105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video"),
    lossy(
        "1.2.840.10008.1.2.4.105.1",
        "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
    ),
    lossy("1.2.840.10008.1.2.4.106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
    lossy(
        "1.2.840.10008.1.2.4.106.1",
        "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
    ),
    lossy("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile / Level 5.1"),
    lossy("1.2.840.10008.1.2.4.108", "HEVC/H.265 Main 10 Profile / Level 5.1"),
    lossless("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
    lossy("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression"),
    lossy("1.2.840.10008.1.2.4.112", "JPEG XL"),
    lossless(
        "1.2.840.10008.1.2.4.201",
        "High-Throughput JPEG 2000 Image Compression (Lossless Only)",
    ),
    lossless(
        "1.2.840.10008.1.2.4.202",
        "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
    ),
    lossy("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000 Image Compression"),
    native("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced", Encoding::ExplicitLittle),
    deflated("1.2.840.10008.1.2.4.205", "JPIP HTJ2K Referenced Deflate"),
    lossless("1.2.840.10008.1.2.5", "RLE Lossless"),
    lossless("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression"),
];

impl TransferSyntax {
    /// Implicit VR Little Endian, the default of PS3.5.
    pub const IMPLICIT_LITTLE: Self = Self(&TABLE[0]);
    /// Explicit VR Little Endian, the default of DICOMweb.
    pub const EXPLICIT_LITTLE: Self = Self(&TABLE[1]);

    /// Finds a syntax by UID; padding is trimmed.
    pub fn from_uid(uid: &str) -> Option<Self> {
        let uid = uid.trim_matches(['\0', ' ']);
        TABLE.iter().find(|entry| entry.uid == uid).map(Self)
    }

    /// Every syntax of the table, in the order of the registry.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(Self)
    }

    /// The UID.
    pub fn uid(self) -> &'static str {
        self.0.uid
    }

    /// The registry's name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// How data elements are encoded (after inflating, for the deflated syntaxes).
    pub fn encoding(self) -> Encoding {
        self.0.encoding
    }

    /// Whether the whole data set is one deflate stream (PS3.5 A.5).
    pub fn is_deflated(self) -> bool {
        self.0.deflated
    }

    /// Whether pixel data is encapsulated in fragments (PS3.5 A.4).
    pub fn is_encapsulated(self) -> bool {
        self.0.encapsulated
    }

    /// Whether the syntax can lose information.
    pub fn is_lossy(self) -> bool {
        self.0.lossy
    }
}

impl PartialEq for TransferSyntax {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid == other.0.uid
    }
}

impl Eq for TransferSyntax {}

impl fmt::Debug for TransferSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransferSyntax({})", self.0.uid)
    }
}

impl fmt::Display for TransferSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_what_their_names_say() {
        assert_eq!(TransferSyntax::IMPLICIT_LITTLE.uid(), "1.2.840.10008.1.2");
        assert_eq!(TransferSyntax::EXPLICIT_LITTLE.uid(), "1.2.840.10008.1.2.1");
        assert_eq!(
            TransferSyntax::from_uid("1.2.840.10008.1.2.5\0").map(|s| s.is_encapsulated()),
            Some(true)
        );
        assert_eq!(TransferSyntax::from_uid("1.2.840.113619.5.2"), None);
    }

    #[test]
    fn uids_are_unique() {
        let mut uids: Vec<_> = TransferSyntax::all().map(TransferSyntax::uid).collect();
        uids.sort_unstable();
        let count = uids.len();
        uids.dedup();
        assert_eq!(uids.len(), count);
    }
}
