//! A time of the day at which things may be sent, for lines that are needed for other things by day.

use std::fmt;
use std::str::FromStr;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// From one time of the day to another, which may be of the next day, at a fixed distance from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Minutes after midnight.
    from: i64,
    /// Minutes after midnight; never the same as `from`.
    to: i64,
    /// Minutes east of UTC.
    offset: i64,
}

impl Window {
    /// When it is open next: `now_ms` itself (ms since 1970) while it is.
    pub fn opens(&self, now_ms: i64) -> i64 {
        let local = now_ms.saturating_add(self.offset * MINUTE_MS);
        let of_day = local.rem_euclid(DAY_MS);
        let (from, to) = (self.from * MINUTE_MS, self.to * MINUTE_MS);
        let open = match from < to {
            true => (from..to).contains(&of_day),
            false => of_day >= from || of_day < to,
        };
        match open {
            true => now_ms,
            false => now_ms.saturating_add((from - of_day).rem_euclid(DAY_MS)),
        }
    }
}

/// As people write it: `22:00-06:00+08:00`; without a distance it is UTC.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(f, "{}-{}", time(self.from), time(self.to))?;
        match self.offset {
            0 => Ok(()),
            east if east > 0 => write!(f, "+{}", time(east)),
            west => write!(f, "-{}", time(-west)),
        }
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text.trim()).ok_or_else(|| {
            format!("{text:?} is no time of the day: write 22:00-06:00 (UTC) or 22:00-06:00+08:00")
        })
    }
}

fn read(text: &str) -> Option<Window> {
    let (from, rest) = text.split_once('-')?;
    let (to, offset) = match rest.split_at_checked(5)? {
        (to, "") => (to, 0),
        (to, rest) => {
            let minutes = time(rest.get(1..)?)?;
            (
                to,
                match rest.get(..1)? {
                    "+" => minutes,
                    "-" => -minutes,
                    _ => return None,
                },
            )
        }
    };
    let window = Window { from: time(from)?, to: time(to)?, offset };
    (window.from != window.to && (-14 * 60..=14 * 60).contains(&offset)).then_some(window)
}

/// Minutes after midnight of `HH:MM`.
fn time(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: i64| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|number: &i64| *number < below)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn check(text: &str, now: i64, opens: i64) {
        let window: Window = text.parse().unwrap();
        assert_eq!(window.opens(now), opens, "{text} at {now}");
        assert_eq!(window.to_string(), text);
    }

    #[test]
    fn windows_open_and_close() {
        check("08:00-17:30", 9 * HOUR, 9 * HOUR);
        check("08:00-17:30", 7 * HOUR, 8 * HOUR);
        check("08:00-17:30", 17 * HOUR + HOUR / 2, 32 * HOUR);
        // Over midnight.
        check("22:00-06:00", 23 * HOUR, 23 * HOUR);
        check("22:00-06:00", 24 * HOUR + 1, 24 * HOUR + 1);
        check("22:00-06:00", 6 * HOUR, 22 * HOUR);
        // In China it is eight hours later.
        check("22:00-06:00+08:00", 14 * HOUR, 14 * HOUR);
        check("22:00-06:00+08:00", 13 * HOUR, 14 * HOUR);
        check("22:00-06:00-05:00", 10 * HOUR, 10 * HOUR);
        check("22:00-06:00-05:00", 11 * HOUR, 27 * HOUR);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "22:00",
            "22:00-",
            "22:00-22:00",
            "24:00-06:00",
            "22:60-06:00",
            "2:00-6:00",
            "22:00-06:00+8",
            "22:00-06:00+15:00",
            "22:00-06:00Z",
            "22:00-06:00*08:00",
            "夜間-朝",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }
}
