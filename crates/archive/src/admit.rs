//! Admission: pure policy on a header. Nothing here touches a disk or a socket.

use qianli_model::{InstanceHeader, Refusal};

use crate::ingest::Format;

/// Which SOP classes are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SopClassPolicy {
    /// Every class but those that are known not to be storage: private and retired ones too.
    #[default]
    All,
    /// Only the storage classes of the standard.
    Standard,
}

/// Roots under which the standard registers SOP classes that carry objects to be stored
/// (PS3.4 annexes B.5, GG.3).
const STORAGE_ROOTS: &[&str] = &[
    // Stored Print, Hardcopy Grayscale and Hardcopy Color Image Storage, retired.
    "1.2.840.10008.5.1.1.27",
    "1.2.840.10008.5.1.1.29",
    "1.2.840.10008.5.1.1.30",
    "1.2.840.10008.5.1.4.1.1.",
    "1.2.840.10008.5.1.4.34.7",
    "1.2.840.10008.5.1.4.34.10",
    "1.2.840.10008.5.1.4.38.1",
    "1.2.840.10008.5.1.4.39.1",
    "1.2.840.10008.5.1.4.43.1",
    "1.2.840.10008.5.1.4.44.1",
    "1.2.840.10008.5.1.4.45.1",
];

impl SopClassPolicy {
    /// Whether objects of this class may be stored.
    pub fn accepts(self, uid: &str) -> bool {
        let standard = uid.starts_with("1.2.840.10008.");
        let storage = STORAGE_ROOTS.iter().any(|root| uid.starts_with(root));
        match self {
            Self::All => !standard || storage,
            Self::Standard => storage,
        }
    }
}

/// Checks that an instance may be kept under what its sender promised.
pub(crate) fn admit(
    policy: SopClassPolicy,
    format: &Format,
    header: &InstanceHeader,
) -> Result<(), Refusal> {
    if !policy.accepts(header.sop_class_uid.as_str()) {
        return Err(Refusal::SopClassNotSupported(header.sop_class_uid.to_string()));
    }
    if let Format::DataSet { sop_class, sop_instance, .. } = format {
        // PS3.4 B.2.3: data set does not match SOP class.
        if sop_class != header.sop_class_uid.as_str() {
            return Err(Refusal::DoesNotMatchSopClass(
                "its SOP Class UID differs from the request's".into(),
            ));
        }
        if sop_instance != header.sop_instance_uid.as_str() {
            return Err(Refusal::DoesNotMatchSopClass(
                "its SOP Instance UID differs from the request's".into(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uid: &str, all: bool, standard: bool) {
        assert_eq!(SopClassPolicy::All.accepts(uid), all, "all: {uid}");
        assert_eq!(SopClassPolicy::Standard.accepts(uid), standard, "standard: {uid}");
    }

    #[test]
    fn storage_classes_are_told_from_services() {
        check("1.2.840.10008.5.1.4.1.1.2", true, true);
        check("1.2.840.10008.5.1.4.39.1", true, true);
        check("1.2.840.10008.5.1.1.29", true, true);
        check("1.2.840.10008.5.1.1.9", false, false);
        check("1.3.46.670589.5.0.1.1", true, false);
        check("1.2.840.10008.1.1", false, false);
        check("1.2.840.10008.1.3.10", false, false);
        check("1.2.840.10008.5.1.4.1.2.1.1", false, false);
        check("1.2.840.10008.5.1.4.31", false, false);
    }
}
