//! Values of DICOM JSON as the bytes of a value field (PS3.18 section F.2.3, PS3.5 section 6.2).

use serde_json::{Number, Value};

use crate::dataset::vr::VR;
use crate::tag::Tag;

/// What makes a value's length even.
pub(super) fn padding(vr: VR) -> u8 {
    match vr {
        VR::UI | VR::OB | VR::UN => 0,
        _ => b' ',
    }
}

/// The value field, without padding.
pub(super) fn bytes(vr: VR, values: &[Value]) -> Result<Vec<u8>, String> {
    match vr {
        VR::US => numbers(vr, values, |n| Some(u16::try_from(n).ok()?.to_le_bytes())),
        VR::SS => numbers(vr, values, |n| Some(i16::try_from(n).ok()?.to_le_bytes())),
        VR::UL => numbers(vr, values, |n| Some(u32::try_from(n).ok()?.to_le_bytes())),
        VR::SL => numbers(vr, values, |n| Some(i32::try_from(n).ok()?.to_le_bytes())),
        VR::UV => numbers(vr, values, |n| Some(u64::try_from(n).ok()?.to_le_bytes())),
        VR::SV => numbers(vr, values, |n| Some(i64::try_from(n).ok()?.to_le_bytes())),
        VR::FL => floats(vr, values, |n| (n as f32).to_le_bytes()),
        VR::FD => floats(vr, values, f64::to_le_bytes),
        VR::AT => tags(values),
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN => {
            Err(format!("a {vr} has no Value"))
        }
        _ => text(vr, values),
    }
}

fn numbers<const N: usize>(
    vr: VR,
    values: &[Value],
    encode: impl Fn(i128) -> Option<[u8; N]>,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(values.len().saturating_mul(N));
    for value in values {
        let number = integer(value).ok_or_else(|| format!("a {vr} is an integer"))?;
        let bytes = encode(number).ok_or_else(|| format!("a number does not fit into a {vr}"))?;
        out.extend_from_slice(&bytes);
    }
    Ok(out)
}

/// 64-bit integers come as strings too (PS3.18 table F.2.3-1), others from careless writers.
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => integral(number),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn integral(number: &Number) -> Option<i128> {
    let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    // 5.0 is an integer to the writers of JSON that have one type of number.
    whole.or_else(|| {
        let value = number.as_f64()?;
        (value.fract() == 0.0 && value.abs() < 9.0e15).then_some(value as i128)
    })
}

fn floats<const N: usize>(
    vr: VR,
    values: &[Value],
    encode: impl Fn(f64) -> [u8; N],
) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(values.len().saturating_mul(N));
    for value in values {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            // "NaN", "inf" and "-inf" among them.
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| format!("a {vr} is a number"))?;
        out.extend_from_slice(&encode(number));
    }
    Ok(out)
}

fn tags(values: &[Value]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(values.len().saturating_mul(4));
    for value in values {
        let tag = value.as_str().and_then(Tag::from_hex).ok_or("an AT is eight hex digits")?;
        out.extend_from_slice(&tag.group.to_le_bytes());
        out.extend_from_slice(&tag.element.to_le_bytes());
    }
    Ok(out)
}

fn text(vr: VR, values: &[Value]) -> Result<Vec<u8>, String> {
    let single = matches!(vr, VR::LT | VR::ST | VR::UT | VR::UR);
    if single && values.len() > 1 {
        return Err(format!("a {vr} has one value"));
    }
    let mut out = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b'\\');
        }
        let text = match (vr, value) {
            (_, Value::Null) => String::new(),
            (VR::PN, value) => person_name(value)?,
            (VR::DS, Value::Number(number)) => decimal(number)?,
            (VR::IS, Value::Number(number)) => {
                let number = integral(number).ok_or("an IS is an integer")?;
                let number = i32::try_from(number).map_err(|_| "a number does not fit into an IS");
                number?.to_string()
            }
            (_, Value::String(text)) => text.clone(),
            _ => return Err(format!("a value of a {vr} is a string")),
        };
        check(vr, &text)?;
        out.extend_from_slice(text.as_bytes());
    }
    Ok(out)
}

/// Control characters would end or restart a value for other readers.
fn check(vr: VR, text: &str) -> Result<(), String> {
    let lines = matches!(vr, VR::LT | VR::ST | VR::UT);
    let legal = |c: char| !c.is_control() || (lines && matches!(c, '\r' | '\n' | '\t' | '\u{c}'));
    if text.chars().all(legal) {
        return Ok(());
    }
    Err("the text holds control characters".into())
}

/// PS3.18 section F.2.2. A plain string is what older writers sent.
fn person_name(value: &Value) -> Result<String, String> {
    let Value::Object(groups) = value else {
        let text = value.as_str().ok_or("a person name is an object of component groups")?;
        return Ok(text.to_owned());
    };
    let mut name = String::new();
    for (index, key) in ["Alphabetic", "Ideographic", "Phonetic"].into_iter().enumerate() {
        if index > 0 {
            name.push('=');
        }
        match groups.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => name.push_str(text),
            Some(_) => return Err(format!("{key} is a string")),
        }
    }
    name.truncate(name.trim_end_matches('=').len());
    Ok(name)
}

/// Longest DS (PS3.5 table 6.2-1).
const LONGEST_DECIMAL: usize = 16;

/// A decimal string of at most sixteen characters, with as many digits as fit.
fn decimal(number: &Number) -> Result<String, String> {
    let exact = number.to_string();
    if exact.len() <= LONGEST_DECIMAL {
        return Ok(exact);
    }
    let value = number.as_f64().ok_or("a DS is a number")?;
    (0..=LONGEST_DECIMAL)
        .rev()
        .flat_map(|digits| [format!("{value:.digits$}"), format!("{value:.digits$e}")])
        .find(|text| text.len() <= LONGEST_DECIMAL && text.parse() != Ok(0.0))
        .ok_or_else(|| "a number does not fit into a DS".into())
}

/// Decodes base64 (RFC 4648 section 4); line ends and missing padding are borne.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut held, mut ended) = (0u32, 0u32, false);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                ended = true;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => return None,
        };
        if ended {
            return None;
        }
        group = (group << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            // The low eight bits of what is above the bits still held.
            out.push(((group >> held) & 0xFF) as u8);
        }
    }
    // A lone character is less than a byte.
    (held < 6).then_some(out)
}
