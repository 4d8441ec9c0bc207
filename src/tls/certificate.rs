//! What people need to know of a certificate: whose it is and until when it holds.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest subject that goes into a log.
const LONGEST_SUBJECT: usize = 256;

/// Whose a certificate is, and when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The distinguished name of its owner, such as `CN=CT1, O=Hospital`.
    pub subject: String,
    not_before: i64,
    not_after: i64,
}

/// What is wrong with the dates of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It does not hold yet.
    Early,
    /// It holds no more.
    Expired,
    /// It holds this many more days.
    Soon(i64),
}

impl Trouble {
    /// Whether clients refuse the certificate now.
    pub fn is_serious(self) -> bool {
        !matches!(self, Self::Soon(_))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early => f.write_str("does not hold yet (is the clock right?)"),
            Self::Expired => f.write_str("has expired"),
            Self::Soon(0) => f.write_str("expires within a day"),
            Self::Soon(days) => write!(f, "expires in {days} days"),
        }
    }
}

impl Facts {
    /// Reads a certificate (X.509, DER).
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(der: &[u8]) -> anyhow::Result<Self> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| anyhow!("it is no X.509 certificate"))?;
        let validity = certificate.validity();
        // Anybody can make a certificate: what goes into logs is one printable line.
        let subject = certificate.subject().to_string();
        let printable = subject.chars().map(|c| if c.is_control() { '?' } else { c });
        Ok(Self {
            subject: printable.take(LONGEST_SUBJECT).collect(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// The last moment at which it holds, in UTC.
    pub fn until(&self) -> String {
        let seconds = u64::try_from(self.not_after).unwrap_or_default();
        match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
            Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
            None => "for ever".to_owned(),
        }
    }

    /// What is wrong with its dates now; [`Trouble::Soon`] when it holds for less than `soon`.
    pub fn trouble(&self, soon: Duration) -> Option<Trouble> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.trouble_at(i64::try_from(now.as_secs()).unwrap_or(i64::MAX), soon)
    }

    fn trouble_at(&self, now: i64, soon: Duration) -> Option<Trouble> {
        let left = self.not_after.saturating_sub(now);
        if now < self.not_before {
            Some(Trouble::Early)
        } else if left < 0 {
            Some(Trouble::Expired)
        } else if left < i64::try_from(soon.as_secs()).unwrap_or(i64::MAX) {
            Some(Trouble::Soon(left / (24 * 3600)))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_judged() {
        let facts = Facts { subject: String::new(), not_before: 1000, not_after: 1_000_000 };
        let soon = Duration::from_secs(2 * 86_400);
        for (now, expected) in [
            (999, Some(Trouble::Early)),
            (1000, None),
            (1_000_000 - 86_400, Some(Trouble::Soon(1))),
            (1_000_000, Some(Trouble::Soon(0))),
            (1_000_001, Some(Trouble::Expired)),
        ] {
            assert_eq!(facts.trouble_at(now, soon), expected, "{now}");
        }
        assert_eq!(facts.until(), "1970-01-12T13:46:40Z");
    }

    #[test]
    fn noise_is_no_certificate() {
        assert!(Facts::read(b"").is_err());
        assert!(Facts::read(&[0x30, 0x82, 0xff, 0xff, 0]).is_err());
    }
}
