//! Dates that are moved by whole days (PS3.15 section E.3.6, PS3.5 section 6.2 for DA and DT).

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end; eras have 400 years.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days from 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A DA or DT value so many days earlier, in the precision that it had; `None` when it does not
/// begin with a date. The old form with dots is understood and written without them.
pub(super) fn earlier(value: &str, by: i64) -> Option<String> {
    let value = value.trim_matches([' ', '\0']);
    let plain;
    let value = match value.as_bytes() {
        [_, _, _, _, b'.', _, _, b'.', ..] => {
            plain = value.replacen('.', "", 2);
            plain.as_str()
        }
        _ => value,
    };
    let digits = value.bytes().take_while(u8::is_ascii_digit).count().min(8);
    let number = |from: usize, to: usize, default: i64| match value.get(from..to) {
        Some(text) if to <= digits => text.parse().ok(),
        _ => Some(default),
    };
    // A year or a month stands for its first day.
    let known = match digits {
        4 | 6 | 8 => digits,
        _ => return None,
    };
    let (year, month, day) = (number(0, 4, 0)?, number(4, 6, 1)?, number(6, 8, 1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month, day) = date(days(year, month, day) - by);
    let moved = format!("{:04}{month:02}{day:02}", year.max(0));
    let rest = value.get(known..)?;
    // Only a time or a zone follows.
    let rest_ok = rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-'));
    rest_ok.then(|| format!("{}{rest}", moved.get(..known).unwrap_or(&moved)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_days_go_and_come_back() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        for day in (-800_000..800_000).step_by(97) {
            let (y, m, d) = date(day);
            assert_eq!(days(y, m, d), day);
        }
    }

    #[test]
    fn dates_move_in_their_precision() {
        assert_eq!(earlier("20240301", 1).as_deref(), Some("20240229"));
        assert_eq!(earlier("20240101 ", 365).as_deref(), Some("20230101"));
        assert_eq!(earlier("2024.03.01", 1).as_deref(), Some("20240229"));
        assert_eq!(
            earlier("20240301123456.789+0800", 1).as_deref(),
            Some("20240229123456.789+0800")
        );
        assert_eq!(earlier("2024", 366).as_deref(), Some("2022"));
        assert_eq!(earlier("202403", 1).as_deref(), Some("202402"));
        for nonsense in ["", "Monday", "20241301", "2024030", "20240301 WANG"] {
            assert_eq!(earlier(nonsense, 1), None, "{nonsense}");
        }
    }
}
