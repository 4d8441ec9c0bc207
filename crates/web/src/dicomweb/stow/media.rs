//! Media types of bulk parts (PS3.18 tables 8.7.3-4, 8.7.3-5 and 10.5.2-1): which transfer syntax
//! they become, and what their own headers say of the image.

use qianli_model::TransferSyntax;

/// What a bulk part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// Bytes of a value.
    Octets,
    /// A compressed frame.
    Frame(Codec),
    /// A film: one stream of all frames, and the syntax it has unless the part says otherwise.
    Film(&'static str),
    /// A picture that DICOM has no syntax for; it is unpacked.
    Png,
    /// A document, with its media type and the class of objects that encapsulate it.
    Document(&'static str, &'static str),
}

/// Families of codecs. Inside one family the part, or its own header, names the transfer syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Jpeg,
    JpegLs,
    Jpeg2000,
    Rle,
    JpegXl,
}

impl Media {
    /// Reads a media type; `None` for one that is not taken.
    pub(super) fn of(essence: &str) -> Option<Self> {
        Some(match essence {
            "application/octet-stream" => Self::Octets,
            "image/jpeg" => Self::Frame(Codec::Jpeg),
            "image/jls" => Self::Frame(Codec::JpegLs),
            "image/jp2" | "image/jpx" | "image/j2k" | "image/jphc" | "image/jph" => {
                Self::Frame(Codec::Jpeg2000)
            }
            "image/dicom-rle" | "image/x-dicom-rle" => Self::Frame(Codec::Rle),
            "image/jxl" => Self::Frame(Codec::JpegXl),
            "image/png" => Self::Png,
            "video/mpeg" | "video/mpeg2" => Self::Film("1.2.840.10008.1.2.4.100"),
            "video/mp4" => Self::Film("1.2.840.10008.1.2.4.102"),
            "video/h265" => Self::Film("1.2.840.10008.1.2.4.107"),
            "application/pdf" => Self::Document("application/pdf", "1.2.840.10008.5.1.4.1.1.104.1"),
            "text/xml" | "application/xml" => {
                Self::Document("text/XML", "1.2.840.10008.5.1.4.1.1.104.2")
            }
            "model/stl" | "application/sla" => {
                Self::Document("model/stl", "1.2.840.10008.5.1.4.1.1.104.3")
            }
            "model/obj" => Self::Document("model/obj", "1.2.840.10008.5.1.4.1.1.104.4"),
            "model/mtl" => Self::Document("model/mtl", "1.2.840.10008.5.1.4.1.1.104.5"),
            _ => return None,
        })
    }
}

/// What a compressed image says of itself: the Image Pixel Description Macro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) samples: u16,
    /// Bits of one sample.
    pub(super) bits: u16,
    pub(super) signed: bool,
    pub(super) photometric: &'static str,
    /// The narrowest transfer syntax that it fits.
    pub(super) syntax: &'static str,
    /// Where the codestream begins, past a file format around it.
    pub(super) start: u64,
}

/// Bytes of a compressed image that are looked at: its headers with profiles and previews in front.
pub(super) const HEAD: u64 = 4 << 20;

/// Bytes of a document that tell what it is: what may stand in front of a PDF header is less.
pub(super) const START: u64 = 1024;

/// Whether a document that begins with `start` may be what it is sent as. Models in text say nothing
/// at their start.
pub(super) fn is_document(mime: &str, start: &[u8]) -> bool {
    match mime {
        "application/pdf" => memchr::memmem::find(start, b"%PDF-").is_some(),
        "text/XML" => {
            // UTF-16 is XML too; its marks are taken as they are.
            let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
            let tag = text.get(..14).unwrap_or(text).to_ascii_lowercase();
            let html = tag.starts_with(b"<!doctype html") || tag.starts_with(b"<html");
            !html && matches!(text.first(), Some(b'<' | 0xFE | 0xFF))
        }
        _ => true,
    }
}

/// Reads the header of a compressed image. `None` for codecs whose streams do not tell.
pub(super) fn picture(codec: Codec, head: &[u8]) -> Result<Option<Picture>, &'static str> {
    match codec {
        Codec::Jpeg | Codec::JpegLs => jpeg(codec, head).map(Some),
        Codec::Jpeg2000 => jpeg2000(head).map(Some),
        Codec::Rle | Codec::JpegXl => Ok(None),
    }
}

/// Whether a codec's images may stand under a transfer syntax.
pub(super) fn fits(codec: Codec, syntax: TransferSyntax) -> bool {
    let Some(rest) = syntax.uid().strip_prefix("1.2.840.10008.1.2.") else { return false };
    match codec {
        Codec::Jpeg => matches!(rest, "4.50" | "4.51" | "4.57" | "4.70"),
        Codec::JpegLs => matches!(rest, "4.80" | "4.81"),
        Codec::Jpeg2000 => {
            matches!(rest, "4.90" | "4.91" | "4.92" | "4.93" | "4.201" | "4.202" | "4.203")
        }
        Codec::Rle => rest == "5",
        Codec::JpegXl => matches!(rest, "4.110" | "4.111" | "4.112"),
    }
}

/// Walks the marker segments of a JPEG or JPEG-LS stream (ISO/IEC 10918-1 annex B).
fn jpeg(codec: Codec, head: &[u8]) -> Result<Picture, &'static str> {
    const CUT: &str = "the image's header is damaged";
    let mut rest = head.strip_prefix(b"\xFF\xD8").ok_or("it is not a JPEG image")?;
    let mut adobe = None;
    let mut frame: Option<(u8, &[u8])> = None;
    loop {
        let marker = match rest {
            [0xFF, 0xFF, ..] => {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            [0xFF, marker, ..] => *marker,
            _ => return Err(CUT),
        };
        let length = rest.get(2..4).and_then(|l| l.try_into().ok()).map(u16::from_be_bytes);
        let length = usize::from(length.ok_or(CUT)?);
        let segment = rest.get(4..2 + length).ok_or(CUT)?;
        rest = rest.get(2 + length..).ok_or(CUT)?;
        match marker {
            0xEE if segment.starts_with(b"Adobe") => adobe = segment.get(11).copied(),
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | 0xF7 => {
                frame = Some((marker, segment));
            }
            0xDA => {
                let (marker, frame) = frame.ok_or(CUT)?;
                let components = usize::from(*segment.first().ok_or(CUT)?);
                let selection = *segment.get(1 + 2 * components).ok_or(CUT)?;
                return jpeg_frame(codec, marker, frame, selection, adobe).ok_or(CUT)?;
            }
            _ => {}
        }
    }
}

/// `selection` is the predictor of lossless JPEG and NEAR of JPEG-LS. `None` when it is cut short.
fn jpeg_frame(
    codec: Codec,
    marker: u8,
    frame: &[u8],
    selection: u8,
    adobe: Option<u8>,
) -> Option<Result<Picture, &'static str>> {
    let (&[bits, y1, y0, x1, x0, samples], components) = frame.split_first_chunk::<6>()?;
    let (rows, columns) = (u16::from_be_bytes([y1, y0]), u16::from_be_bytes([x1, x0]));
    if rows == 0 || columns == 0 || !matches!(samples, 1 | 3) {
        return Some(Err("images of one or three components with a size are taken"));
    }
    let syntax = match (codec, marker, selection) {
        (Codec::Jpeg, 0xC0, _) => "1.2.840.10008.1.2.4.50",
        (Codec::Jpeg, 0xC1, _) => "1.2.840.10008.1.2.4.51",
        (Codec::Jpeg, 0xC3, 1) => "1.2.840.10008.1.2.4.70",
        (Codec::Jpeg, 0xC3, _) => "1.2.840.10008.1.2.4.57",
        (Codec::Jpeg, 0xC2, _) => return Some(Err("progressive JPEG is not taken: send PNG")),
        (Codec::JpegLs, 0xF7, 0) => "1.2.840.10008.1.2.4.80",
        (Codec::JpegLs, 0xF7, _) => "1.2.840.10008.1.2.4.81",
        _ => return Some(Err("this kind of JPEG is not taken")),
    };
    let identifiers: Vec<u8> = components.chunks(3).filter_map(|c| c.first().copied()).collect();
    let subsampled = components.get(1).is_some_and(|factors| *factors != 0x11);
    let lossless = matches!(marker, 0xC3 | 0xF7);
    let photometric = match samples {
        1 => "MONOCHROME2",
        _ if lossless || adobe == Some(0) || identifiers == *b"RGB" => "RGB",
        _ if subsampled => "YBR_FULL_422",
        _ => "YBR_FULL",
    };
    Some(Ok(Picture {
        rows,
        columns,
        samples: samples.into(),
        bits: bits.into(),
        signed: false,
        photometric,
        syntax,
        start: 0,
    }))
}

/// Reads SIZ and COD of a JPEG 2000 codestream (ISO/IEC 15444-1 annex A), alone or in a JP2 file.
fn jpeg2000(head: &[u8]) -> Result<Picture, &'static str> {
    const CUT: &str = "the image's header is damaged";
    let start = codestream(head).ok_or("it is not a JPEG 2000 image")?;
    let mut rest = head.get(start..).and_then(|code| code.strip_prefix(b"\xFF\x4F")).ok_or(CUT)?;
    let mut size: Option<&[u8]> = None;
    let coding = loop {
        let &[0xFF, marker, l1, l0] = rest.first_chunk::<4>().ok_or(CUT)? else {
            return Err(CUT);
        };
        let length = usize::from(u16::from_be_bytes([l1, l0]));
        let segment = rest.get(4..2 + length).ok_or(CUT)?;
        match marker {
            0x51 => size = Some(segment),
            0x52 => break segment,
            _ => {}
        }
        rest = rest.get(2 + length..).ok_or(CUT)?;
    };
    let size = size.ok_or(CUT)?;
    let number = |at: usize| -> Result<u32, &'static str> {
        let bytes = size.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or(CUT)
    };
    let side = |end: usize, begin: usize| -> Result<u16, &'static str> {
        let length = number(end)?.checked_sub(number(begin)?).ok_or(CUT)?;
        u16::try_from(length).ok().filter(|length| *length > 0).ok_or("the image is too large")
    };
    let (columns, rows) = (side(2, 10)?, side(6, 14)?);
    let &[c1, c0, depth] = size.get(34..37).and_then(|b| b.first_chunk::<3>()).ok_or(CUT)?;
    let samples = u16::from_be_bytes([c1, c0]);
    if !matches!(samples, 1 | 3) {
        return Err("images of one or three components are taken");
    }
    let high_throughput = size.first().is_some_and(|profile| profile & 0x40 != 0);
    let (mixed, reversible) = (coding.get(4).ok_or(CUT)? & 1 == 1, *coding.get(9).ok_or(CUT)? == 1);
    let photometric = match (samples, mixed, reversible) {
        (1, ..) => "MONOCHROME2",
        (_, false, _) => "RGB",
        (_, true, true) => "YBR_RCT",
        (_, true, false) => "YBR_ICT",
    };
    let syntax = match (high_throughput, reversible) {
        (false, true) => "1.2.840.10008.1.2.4.90",
        (false, false) => "1.2.840.10008.1.2.4.91",
        (true, true) => "1.2.840.10008.1.2.4.201",
        (true, false) => "1.2.840.10008.1.2.4.203",
    };
    Ok(Picture {
        rows,
        columns,
        samples,
        bits: u16::from(depth & 0x7F) + 1,
        signed: depth & 0x80 != 0,
        photometric,
        syntax,
        start: start as u64,
    })
}

/// Where the codestream begins: at once, or in the box `jp2c` of a JP2 file.
fn codestream(head: &[u8]) -> Option<usize> {
    if head.starts_with(b"\xFF\x4F\xFF\x51") {
        return Some(0);
    }
    if head.get(4..8) != Some(b"jP  ") {
        return None;
    }
    let mut at = 0usize;
    loop {
        let (&[l3, l2, l1, l0, ref kind @ ..], _) = head.get(at..)?.split_first_chunk::<8>()?;
        let short = u32::from_be_bytes([l3, l2, l1, l0]);
        let header = if short == 1 { 16 } else { 8 };
        if kind == b"jp2c" {
            return at.checked_add(header);
        }
        let length = match short {
            1 => {
                let long = head.get(at + 8..at + 16)?.try_into().ok()?;
                usize::try_from(u64::from_be_bytes(long)).ok()?
            }
            short => usize::try_from(short).ok()?,
        };
        if length < header {
            return None;
        }
        at = at.checked_add(length)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SOI, an Adobe segment if any, a frame header and the start of the scan.
    fn stream(marker: u8, samples: u8, factors: u8, selection: u8, adobe: Option<u8>) -> Vec<u8> {
        let mut out = b"\xFF\xD8".to_vec();
        if let Some(transform) = adobe {
            out.extend(b"\xFF\xEE\x00\x0EAdobe\0d\0\0\0\0");
            out.push(transform);
        }
        out.extend([0xFF, 0xFF, marker, 0, 8 + 3 * samples, 8, 0x01, 0x02, 0x03, 0x04, samples]);
        for index in 0..samples {
            out.extend([index + 1, if index == 0 { factors } else { 0x11 }, 0]);
        }
        out.extend([0xFF, 0xDA, 0, 6 + 2 * samples, samples]);
        for index in 0..samples {
            out.extend([index + 1, 0]);
        }
        out.extend([selection, 0, 0]);
        out
    }

    #[test]
    fn jpeg_says_what_it_is() {
        for (codec, bytes, syntax, photometric) in [
            (Codec::Jpeg, stream(0xC0, 1, 0x11, 0, None), "4.50", "MONOCHROME2"),
            (Codec::Jpeg, stream(0xC0, 3, 0x22, 0, None), "4.50", "YBR_FULL_422"),
            (Codec::Jpeg, stream(0xC0, 3, 0x11, 0, Some(1)), "4.50", "YBR_FULL"),
            (Codec::Jpeg, stream(0xC0, 3, 0x11, 0, Some(0)), "4.50", "RGB"),
            (Codec::Jpeg, stream(0xC1, 1, 0x11, 0, None), "4.51", "MONOCHROME2"),
            (Codec::Jpeg, stream(0xC3, 3, 0x11, 1, None), "4.70", "RGB"),
            (Codec::Jpeg, stream(0xC3, 1, 0x11, 6, None), "4.57", "MONOCHROME2"),
            (Codec::JpegLs, stream(0xF7, 3, 0x11, 0, None), "4.80", "RGB"),
            (Codec::JpegLs, stream(0xF7, 1, 0x11, 2, None), "4.81", "MONOCHROME2"),
        ] {
            let picture = picture(codec, &bytes).unwrap().unwrap();
            assert_eq!((picture.rows, picture.columns, picture.bits), (0x0102, 0x0304, 8));
            assert_eq!(picture.syntax, format!("1.2.840.10008.1.2.{syntax}"));
            assert_eq!(picture.photometric, photometric);
            let syntax = TransferSyntax::from_uid(picture.syntax).unwrap();
            assert!(fits(codec, syntax) && !fits(Codec::Rle, syntax));
            for end in 0..bytes.len() - 2 {
                assert!(super::picture(codec, &bytes[..end]).is_err(), "{end}");
            }
        }
        let progressive = picture(Codec::Jpeg, &stream(0xC2, 3, 0x22, 0, None)).unwrap_err();
        assert!(progressive.contains("progressive"));
        assert!(picture(Codec::JpegLs, &stream(0xC0, 1, 0x11, 0, None)).is_err());
        assert!(picture(Codec::Jpeg, b"GIF89a").is_err());
    }

    #[test]
    fn jpeg_2000_says_what_it_is_in_a_file_or_alone() {
        let mut code = b"\xFF\x4F\xFF\x51\x00\x2F\x00\x00".to_vec();
        for number in [0x304u32, 0x102, 0, 0, 0x304, 0x102, 0, 0] {
            code.extend(number.to_be_bytes());
        }
        code.extend([0, 3, 11, 1, 1, 11, 1, 1, 11, 1, 1]);
        code.extend(b"\xFF\x52\x00\x0C\x00\x00\x00\x01\x01\x05\x04\x04\x00\x01\xFF\x90");
        let alone = picture(Codec::Jpeg2000, &code).unwrap().unwrap();
        assert_eq!((alone.rows, alone.columns, alone.samples, alone.bits), (0x102, 0x304, 3, 12));
        assert_eq!((alone.syntax, alone.photometric), ("1.2.840.10008.1.2.4.90", "YBR_RCT"));
        let mut file = b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x08ftyp\0\0\0\0jp2c".to_vec();
        let start = file.len() as u64;
        file.extend(&code);
        let inside = picture(Codec::Jpeg2000, &file).unwrap().unwrap();
        assert_eq!(inside, Picture { start, ..alone });
        for end in 0..code.len() - 3 {
            assert!(picture(Codec::Jpeg2000, &code[..end]).is_err(), "{end}");
        }
        assert!(picture(Codec::Jpeg2000, b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\0ftyp").is_err());
    }
}
