//! Builds the DICOM JSON of test images from a line of `name=value` words.

/// DICOM JSON of a 2 x 2 image of 8-bit MONOCHROME2 pixels, changed by `words`: `rows`, `columns`,
/// `samples`, `photometric` (`_` stands for a space), `planar`, `bits` (sets stored too), `stored`,
/// `high`, `signed`, and any other attribute by its eight digits with a JSON value.
pub(crate) fn json(words: &str) -> String {
    let mut elements: Vec<(String, String)> = vec![
        ("00280010".into(), "2".into()),
        ("00280011".into(), "2".into()),
        ("00280002".into(), "1".into()),
        ("00280004".into(), "\"MONOCHROME2\"".into()),
        ("00280100".into(), "8".into()),
    ];
    let mut set = |tag: &str, value: String| {
        elements.retain(|(existing, _)| existing != tag);
        elements.push((tag.into(), value));
    };
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap();
        let value = value.to_owned();
        match name {
            "rows" => set("00280010", value),
            "columns" => set("00280011", value),
            "samples" => set("00280002", value),
            "photometric" => {
                let term = if value == "PALETTE" { "PALETTE COLOR".into() } else { value };
                set("00280004", format!("\"{term}\""));
            }
            "planar" => set("00280006", value),
            "bits" => set("00280100", value),
            "stored" => set("00280101", value),
            "high" => set("00280102", value),
            "signed" => set("00280103", value),
            tag => set(tag, value),
        }
    }
    let elements: Vec<String> = elements
        .into_iter()
        .map(|(tag, value)| match value.strip_prefix("raw:") {
            Some(element) => format!("\"{tag}\":{element}"),
            None => format!("\"{tag}\":{{\"vr\":\"US\",\"Value\":[{value}]}}"),
        })
        .collect();
    format!("{{{}}}", elements.join(","))
}

/// A small generator of pseudo-random numbers (xorshift64*), so that tests repeat.
pub(crate) struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Bytes of hexadecimal digits; anything between them is skipped.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: &u8| (*byte as char).to_digit(16).unwrap() as u8;
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.as_chunks::<2>().0.iter().map(|[h, l]| digit(h) << 4 | digit(l)).collect()
}
