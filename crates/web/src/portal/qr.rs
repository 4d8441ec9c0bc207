//! Texts as QR codes, in SVG that needs neither styles nor scripts, so that it stands inside a page
//! under our policy: for second factors and for links that a phone opens.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// Modules of white around a code, without which cameras do not find it (ISO/IEC 18004).
const QUIET: usize = 4;

/// Longest text (bytes): a code of more would be too fine for a phone to read from a screen.
const LONGEST: usize = 512;

/// A text as a picture. `None` when it is too long.
pub(crate) fn svg(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let side = width + 2 * QUIET;
    let mut dark = String::new();
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let (x, y) = (at % width + QUIET, at / width + QUIET);
            // Writing to a text cannot fail.
            let _ = write!(dark, "M{x} {y}h1v1h-1z");
        }
    }
    // White under it whatever the page's colours are: many cameras read no inverted codes.
    Some(format!(
        "<svg class=\"qr\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
         width=\"232\" height=\"232\" shape-rendering=\"crispEdges\"><title>QR code</title>\
         <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/><path fill=\"#000\" d=\"{dark}\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_marks_where_cameras_look_for_them() {
        let picture = svg("https://images.example/s/abcdefghijkmnpqr").expect("a short text");
        assert!(picture.contains("<title>QR code</title>") && picture.contains("role=\"img\""));
        let side: usize = picture
            .split("viewBox=\"0 0 ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .expect("a size");
        let is_dark = |x: usize, y: usize| picture.contains(&format!("M{x} {y}h1"));
        // The three finder patterns: a ring, a white ring, a square of three.
        for (left, top) in [(4, 4), (side - 11, 4), (4, side - 11)] {
            for step in 0..7 {
                assert!(is_dark(left + step, top) && is_dark(left, top + step));
            }
            assert!(!is_dark(left + 1, top + 1) && is_dark(left + 3, top + 3));
        }
        for at in 0..side {
            for edge in 0..QUIET {
                assert!(!is_dark(at, edge) && !is_dark(edge, at), "the quiet zone is white");
            }
        }
    }

    #[test]
    fn other_texts_are_other_codes_and_long_ones_are_none() {
        assert_ne!(svg("a"), svg("b"));
        assert!(svg(&"x".repeat(LONGEST)).is_some());
        assert_eq!(svg(&"x".repeat(LONGEST + 1)), None);
        // A text never becomes markup.
        assert!(!svg("<script>alert(1)</script>").expect("a short text").contains("script"));
    }
}
