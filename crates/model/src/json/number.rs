//! JSON numbers from decimal strings (IS, DS) and binary values, without losing digits.

use std::io::Write;

/// Integers beyond this are not exact in the readers of JSON that keep numbers as doubles
/// (2^53); they are written as strings, which PS3.18 table F.2.3-1 allows for SV and UV.
const EXACT: u64 = 1 << 53;

/// Writes the digits of an IS or DS as a JSON number: the text itself, made to fit JSON's grammar
/// (no plus sign, no leading zeros, digits on both sides of the point). Returns false, and writes
/// nothing, if the text is not a finite decimal number.
pub(crate) fn write_decimal(out: &mut Vec<u8>, text: &str) -> bool {
    let bytes = text.as_bytes();
    let (negative, unsigned) = match bytes.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, bytes),
    };
    let exponent_at = unsigned.iter().position(|b| matches!(b, b'e' | b'E'));
    let (mantissa, exponent) = match exponent_at {
        Some(at) => (unsigned.get(..at).unwrap_or(&[]), unsigned.get(at + 1..)),
        None => (unsigned, None),
    };
    let point_at = mantissa.iter().position(|&b| b == b'.').unwrap_or(mantissa.len());
    let whole = mantissa.get(..point_at).unwrap_or(&[]);
    let fraction = mantissa.get(point_at + 1..).unwrap_or(&[]);
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return false;
    }
    if let Some(exponent) = exponent {
        let digits =
            exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        if digits.is_empty() || !all_digits(digits) {
            return false;
        }
    }
    // Without an exponent only an absurd number of digits is not finite.
    if (exponent.is_some() || whole.len() > 300)
        && !text.parse::<f64>().is_ok_and(|value| value.is_finite())
    {
        return false;
    }
    if negative {
        out.push(b'-');
    }
    let leading_zeros = whole.iter().take_while(|&&b| b == b'0').count();
    match whole.get(leading_zeros..) {
        Some(significant) if !significant.is_empty() => out.extend_from_slice(significant),
        _ => out.push(b'0'),
    }
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    if let Some(exponent) = exponent {
        out.push(b'e');
        out.extend_from_slice(exponent);
    }
    true
}

fn all_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// Writes an integer.
pub(crate) fn write_integer(out: &mut Vec<u8>, value: i128) {
    let exact = value.unsigned_abs() <= u128::from(EXACT);
    // Writing into memory cannot fail.
    let _ = if exact { write!(out, "{value}") } else { write!(out, "\"{value}\"") };
}

/// Writes a floating point value exactly; what JSON has no number for becomes a string
/// (PS3.18 section F.2.3: "NaN", "inf", "-inf").
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    // Writing into memory cannot fail.
    let _ = if value.is_nan() {
        write!(out, "\"NaN\"")
    } else if value.is_infinite() {
        write!(out, "{}", if value > 0.0 { "\"inf\"" } else { "\"-inf\"" })
    } else if size != 0.0 && !(1e-5..1e17).contains(&size) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value:?}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Option<String> {
        let mut out = Vec::new();
        write_decimal(&mut out, text).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn decimals_keep_their_digits_and_become_json() {
        for (text, expected) in [
            ("1.500", "1.500"),
            ("+7", "7"),
            ("007", "7"),
            ("-00.50", "-0.50"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("5.", "5"),
            ("0", "0"),
            ("000", "0"),
            ("1E+05", "1e+05"),
            ("1.25e-3", "1.25e-3"),
            ("0.12345678901234567890", "0.12345678901234567890"),
            ("18446744073709551616", "18446744073709551616"),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(expected));
            serde_json::from_str::<serde_json::Number>(expected).unwrap();
        }
    }

    #[test]
    fn what_is_not_a_finite_decimal_is_not_a_number() {
        for text in ["", ".", "-", "1,5", "1e", "e5", "1e999", "NaN", "inf", "0x10", "1 2", "1.2.3"]
        {
            assert_eq!(decimal(text), None, "{text:?}");
        }
        assert_eq!(decimal(&"9".repeat(400)), None);
    }

    #[test]
    fn binary_numbers() {
        let integer = |value| {
            let mut out = Vec::new();
            write_integer(&mut out, value);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(integer(-5), "-5");
        assert_eq!(integer(1 << 53), "9007199254740992");
        assert_eq!(integer(i128::from(u64::MAX)), "\"18446744073709551615\"");
        let float = |value| {
            let mut out = Vec::new();
            write_float(&mut out, value);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(float(1.5), "1.5");
        assert_eq!(float(-3.0), "-3.0");
        assert_eq!(float(1e300), "1e300");
        assert_eq!(float(5e-324), "5e-324");
        assert_eq!(float(f64::NAN), "\"NaN\"");
        assert_eq!(float(f64::NEG_INFINITY), "\"-inf\"");
        assert_eq!(float(f64::from(0.1_f32)).parse::<f64>().unwrap() as f32, 0.1_f32);
    }
}
