//! Small DICOM files, written element by element.

use qianli_model::TransferSyntax;
use qianli_model::syntax::Encoding;

pub(super) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(super) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(super) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(super) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub(super) const RLE: &str = "1.2.840.10008.1.2.5";
pub(super) const J2K: &str = "1.2.840.10008.1.2.4.90";

/// What pixel data an instance has.
#[derive(Clone)]
pub(super) enum Pixels {
    None,
    /// Frames of 2 x 2 samples of 16 bits.
    Words(Vec<[u16; 4]>),
    /// One frame of 3 x 1 samples of 8 bits, held in 16-bit words.
    OddBytes([u8; 3]),
    /// Frames of 3 x 1 samples of one bit.
    Bits {
        frames: u16,
        packed: Vec<u8>,
    },
    /// Fragments, one per frame.
    Fragments(Vec<Vec<u8>>),
}

/// An instance to be written.
#[derive(Clone)]
pub(super) struct Instance {
    pub(super) syntax: &'static str,
    pub(super) study: String,
    pub(super) series: String,
    pub(super) uid: String,
    pub(super) class: &'static str,
    pub(super) number: u32,
    pub(super) modality: &'static str,
    pub(super) patient_id: &'static str,
    pub(super) patient_name: &'static str,
    /// YYYYMMDD; left out when empty.
    pub(super) birth_date: &'static str,
    pub(super) pixels: Pixels,
    /// Length of a private OB value, large enough to become bulk data.
    pub(super) private_bytes: usize,
    /// VR and text of a private element (0009,1002).
    pub(super) private_text: Option<(&'static str, &'static str)>,
    /// Media type of an encapsulated document, large enough to become bulk data.
    pub(super) document: Option<&'static str>,
}

impl Instance {
    /// Instance `number` of series `series` of study `study`.
    pub(super) fn new(study: u32, series: u32, number: u32) -> Self {
        Self {
            syntax: EXPLICIT,
            study: format!("1.2.826.{study}"),
            series: format!("1.2.826.{study}.{series}"),
            uid: format!("1.2.826.{study}.{series}.{number}"),
            class: CT,
            number,
            modality: "CT",
            patient_id: "P1",
            patient_name: "Wang^Wu=王^五",
            birth_date: "",
            pixels: Pixels::Words(vec![[1, 2, 3, 0x1234]]),
            private_bytes: 0,
            private_text: None,
            document: None,
        }
    }

    /// Path of the instance under the root.
    pub(super) fn path(&self) -> String {
        let Self { study, series, uid, .. } = self;
        format!("/dicom-web/studies/{study}/series/{series}/instances/{uid}")
    }

    /// The instance as a DICOM file.
    pub(super) fn file(&self) -> Vec<u8> {
        let syntax = TransferSyntax::from_uid(self.syntax).expect("a known syntax");
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM");
        let mut meta = Writer::new(Encoding::ExplicitLittle);
        meta.text(0x0002, 0x0002, "UI", self.class);
        meta.text(0x0002, 0x0003, "UI", &self.uid);
        meta.text(0x0002, 0x0010, "UI", self.syntax);
        file.extend(meta.bytes);

        let mut set = Writer::new(syntax.encoding());
        set.text(0x0008, 0x0005, "CS", "ISO_IR 192");
        set.text(0x0008, 0x0016, "UI", self.class);
        set.text(0x0008, 0x0018, "UI", &self.uid);
        set.text(0x0008, 0x0020, "DA", "20240102");
        set.text(0x0008, 0x0030, "TM", "101112");
        set.text(0x0008, 0x0050, "SH", "A1");
        set.text(0x0008, 0x0060, "CS", self.modality);
        set.text(0x0008, 0x0090, "PN", "");
        set.text(0x0008, 0x1030, "LO", "HEAD");
        if self.private_bytes > 0 {
            set.text(0x0009, 0x0010, "LO", "QIANLI TEST");
            let value: Vec<u8> = (0..self.private_bytes).map(|i| i as u8).collect();
            set.element(0x0009, 0x1001, "OB", &value);
        }
        if let Some((vr, text)) = self.private_text {
            set.text(0x0009, 0x0010, "LO", "QIANLI TEST");
            set.text(0x0009, 0x1002, vr, text);
        }
        set.text(0x0010, 0x0010, "PN", self.patient_name);
        set.text(0x0010, 0x0020, "LO", self.patient_id);
        if !self.birth_date.is_empty() {
            set.text(0x0010, 0x0030, "DA", self.birth_date);
        }
        set.text(0x0020, 0x000D, "UI", &self.study);
        set.text(0x0020, 0x000E, "UI", &self.series);
        set.text(0x0020, 0x0013, "IS", &self.number.to_string());
        self.write_pixels(&mut set);
        if let Some(media) = self.document {
            set.element(0x0042, 0x0011, "OB", &b"%PDF-1.7\n".repeat(1000));
            set.text(0x0042, 0x0012, "LO", media);
        }
        file.extend(set.bytes);
        file
    }

    fn write_pixels(&self, set: &mut Writer) {
        let (frames, rows, columns, bits) = match &self.pixels {
            Pixels::None => return,
            Pixels::Words(frames) => (frames.len(), 2, 2, 16),
            Pixels::OddBytes(_) => (1, 1, 3, 8),
            Pixels::Bits { frames, .. } => (usize::from(*frames), 1, 3, 1),
            Pixels::Fragments(frames) => (frames.len(), 2, 2, 8),
        };
        set.number(0x0028, 0x0002, 1);
        set.text(0x0028, 0x0004, "CS", "MONOCHROME2");
        set.text(0x0028, 0x0008, "IS", &frames.to_string());
        set.number(0x0028, 0x0010, rows);
        set.number(0x0028, 0x0011, columns);
        set.number(0x0028, 0x0100, bits);
        set.number(0x0028, 0x0101, bits);
        set.number(0x0028, 0x0102, bits - 1);
        set.number(0x0028, 0x0103, 0);
        set.text(0x0028, 0x1050, "DS", "40");
        match &self.pixels {
            Pixels::None => {}
            Pixels::Words(frames) => {
                let words = frames.iter().flatten().flat_map(|word| set.word(*word));
                let value: Vec<u8> = words.collect();
                set.element(0x7FE0, 0x0010, "OW", &value);
            }
            Pixels::OddBytes([a, b, c]) => {
                let words = [u16::from_le_bytes([*a, *b]), u16::from(*c)];
                let value: Vec<u8> = words.iter().flat_map(|word| set.word(*word)).collect();
                set.element(0x7FE0, 0x0010, "OW", &value);
            }
            Pixels::Bits { packed, .. } => set.element(0x7FE0, 0x0010, "OB", packed),
            Pixels::Fragments(fragments) => set.fragments(fragments),
        }
    }
}

/// One RLE segment of four bytes (PS3.5 annex G).
pub(super) fn rle_frame(pixels: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[0] = 1;
    frame[4] = 64;
    frame.push(3);
    frame.extend_from_slice(&pixels);
    frame.push(0x80);
    frame
}

struct Writer {
    bytes: Vec<u8>,
    encoding: Encoding,
}

impl Writer {
    fn new(encoding: Encoding) -> Self {
        Self { bytes: Vec::new(), encoding }
    }

    fn word(&self, word: u16) -> [u8; 2] {
        match self.encoding {
            Encoding::ExplicitBig => word.to_be_bytes(),
            _ => word.to_le_bytes(),
        }
    }

    fn long(&self, long: u32) -> [u8; 4] {
        match self.encoding {
            Encoding::ExplicitBig => long.to_be_bytes(),
            _ => long.to_le_bytes(),
        }
    }

    fn header(&mut self, group: u16, element: u16, vr: &str, length: u32) {
        let (group, element) = (self.word(group), self.word(element));
        self.bytes.extend(group);
        self.bytes.extend(element);
        if self.encoding == Encoding::ImplicitLittle {
            self.bytes.extend(length.to_le_bytes());
            return;
        }
        self.bytes.extend(vr.as_bytes());
        if matches!(vr, "OB" | "OW" | "SQ" | "UN") {
            let length = self.long(length);
            self.bytes.extend([0, 0]);
            self.bytes.extend(length);
        } else {
            let length = self.word(length as u16);
            self.bytes.extend(length);
        }
    }

    fn element(&mut self, group: u16, element: u16, vr: &str, value: &[u8]) {
        self.header(group, element, vr, value.len().next_multiple_of(2) as u32);
        self.bytes.extend_from_slice(value);
        if !value.len().is_multiple_of(2) {
            self.bytes.push(if matches!(vr, "UI" | "OB") { 0 } else { b' ' });
        }
    }

    fn text(&mut self, group: u16, element: u16, vr: &str, value: &str) {
        self.element(group, element, vr, value.as_bytes());
    }

    fn number(&mut self, group: u16, element: u16, value: u16) {
        let value = self.word(value);
        self.element(group, element, "US", &value);
    }

    fn fragments(&mut self, fragments: &[Vec<u8>]) {
        self.header(0x7FE0, 0x0010, "OB", u32::MAX);
        self.item(&[]);
        for fragment in fragments {
            self.item(fragment);
        }
        self.bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    }

    fn item(&mut self, value: &[u8]) {
        assert!(value.len().is_multiple_of(2), "fragments have even lengths");
        self.bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
        self.bytes.extend((value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }
}
