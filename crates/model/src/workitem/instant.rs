//! Date-times (PS3.5 table 6.2-1, VR DT) as instants that compare as text.
//!
//! A key is `YYYYMMDDHHMMSS.FFFFFF` in UTC. A value without an offset is taken as it stands, as if
//! it were UTC: what a site writes without offsets, it also asks for without them.

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The text of an instant as DT with its offset; `ms` counts from 1970-01-01T00:00Z.
pub fn date_time(ms: i64) -> String {
    format!("{}+0000", key(ms.saturating_mul(1000)))
}

/// The first and the last instant that a DT of any precision covers, as keys; `zone` is the offset
/// of values that have none (Timezone Offset From UTC (0008,0201)), or empty.
///
/// `None` when the text is no date-time.
pub fn bounds(text: &str, zone: &str) -> Option<(String, String)> {
    let text = text.trim();
    let (local, offset) = match text.rfind(['+', '-']) {
        Some(at) => (text.get(..at)?, Some(minutes(text.get(at..)?)?)),
        None => (text, minutes(zone.trim())),
    };
    let shift = offset.unwrap_or(0) * 60_000_000;
    let (whole, fraction) = match local.split_once('.') {
        Some((whole, fraction)) if whole.len() == 14 => (whole, fraction),
        Some(_) => return None,
        None => (local, ""),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fits = matches!(whole.len(), 4 | 6 | 8 | 10 | 12 | 14) && fraction.len() <= 6;
    if !fits || !digits(whole) || !digits(fraction) || local.ends_with('.') {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to).and_then(|text| text.parse().ok());
    let year: i64 = part(0, 4)?;
    let edge = |last: bool| {
        let pick = |value: Option<i64>, first: i64, end: i64| {
            value.unwrap_or(if last { end } else { first })
        };
        let month = pick(part(4, 6), 1, 12);
        let days = days_of(year, month)?;
        let day = pick(part(6, 8), 1, days);
        let hour = pick(part(8, 10), 0, 23);
        let minute = pick(part(10, 12), 0, 59);
        let second = pick(part(12, 14), 0, 59);
        let legal = (1..=days).contains(&day)
            && (0..=23).contains(&hour)
            && (0..=59).contains(&minute)
            && (0..=60).contains(&second);
        if !legal {
            return None;
        }
        let filler = if last { '9' } else { '0' };
        let micros: String = fraction.chars().chain(std::iter::repeat(filler)).take(6).collect();
        // A leap second is the second before it here.
        let seconds = (hour * 60 + minute) * 60 + second.min(59);
        let in_day = seconds * 1_000_000 + micros.parse::<i64>().ok()?;
        Some(key(days_from_civil(year, month, day) * DAY + in_day - shift))
    };
    Some((edge(false)?, edge(true)?))
}

/// Signed minutes of `+HHMM` or `-HHMM`.
fn minutes(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text.get(1..)?;
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) =
        (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse().ok()?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn days_of(year: i64, month: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    })
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The key of an instant in microseconds since 1970.
fn key(micros: i64) -> String {
    let days = micros.div_euclid(DAY) + 719_468;
    let in_day = micros.rem_euclid(DAY);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = (year + era * 400 + i64::from(month <= 2)).clamp(0, 9999);
    let seconds = in_day / 1_000_000;
    format!(
        "{year:04}{month:02}{day:02}{:02}{:02}{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        in_day % 1_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_with_their_offset() {
        assert_eq!(date_time(0), "19700101000000.000000+0000");
        assert_eq!(date_time(1_709_624_400_123), "20240305074000.123000+0000");
        assert_eq!(date_time(951_782_399_999), "20000228235959.999000+0000");
        assert_eq!(date_time(951_868_800_000), "20000301000000.000000+0000");
    }

    #[test]
    fn precision_is_a_range_and_offsets_count() {
        for (text, zone, first, last) in [
            ("2024", "", "20240101000000.000000", "20241231235959.999999"),
            ("202402", "", "20240201000000.000000", "20240229235959.999999"),
            ("20240305", "", "20240305000000.000000", "20240305235959.999999"),
            ("2024030507", "", "20240305070000.000000", "20240305075959.999999"),
            ("20240305074001.5", "", "20240305074001.500000", "20240305074001.599999"),
            ("20240101000000+0800", "", "20231231160000.000000", "20231231160000.999999"),
            ("20240101000000-0500", "+0800", "20240101050000.000000", "20240101050000.999999"),
            ("20240101000000", "+0800", "20231231160000.000000", "20231231160000.999999"),
            ("20161231235960", "", "20161231235959.000000", "20161231235959.999999"),
        ] {
            assert_eq!(bounds(text, zone), Some((first.into(), last.into())), "{text} {zone}");
        }
        for bad in [
            "",
            "x",
            "20241301",
            "20240230",
            "202403050",
            "2024030524",
            "20240305.5",
            "2024+9900",
            "20240305074001.",
            "20240305074001.1234567",
            "2024-",
            "٢٠٢٤",
        ] {
            assert_eq!(bounds(bad, ""), None, "{bad}");
        }
    }
}
