//! Why an instance is not kept: one enum, every wire.

/// Why we would not keep an instance. The sender sees the code and the message; neither carries
/// patient data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sender may not store here.
    #[error("not authorised to store here")]
    NotAuthorised,
    /// Storage or memory is exhausted; the sender should try again later.
    #[error("out of resources: {0}")]
    OutOfResources(String),
    /// The object is larger than what is taken here, so that sending it again does not help.
    #[error("larger than {0} bytes, the limit here (max_object)")]
    TooLarge(u64),
    /// The database or the blob store failed; the sender should try again later.
    #[error("the archive could not store the instance now; try again")]
    StorageFailed,
    /// The data set does not carry what its SOP class or the request promised.
    #[error("the data set does not match: {0}")]
    DoesNotMatchSopClass(String),
    /// A mandatory attribute is absent or empty.
    #[error("{0} is missing")]
    MissingAttribute(&'static str),
    /// A mandatory attribute has an impossible value.
    #[error("{attribute} is not acceptable: {reason}")]
    InvalidAttribute {
        /// Keyword of the attribute.
        attribute: &'static str,
        /// What is wrong with its value, without the value.
        reason: String,
    },
    /// The bytes are not a DICOM data set that can be read.
    #[error("cannot understand the data set: {0}")]
    CannotUnderstand(String),
    /// This SOP class is not one that the policy lets in.
    #[error("SOP class {0} is not supported here")]
    SopClassNotSupported(String),
    /// The transfer syntax is not one we can keep.
    #[error("transfer syntax {0} is not supported")]
    TransferSyntaxNotSupported(String),
    /// The same SOP instance is here with other content, and the policy is to refuse.
    #[error("the SOP instance is already here with different content")]
    DuplicateWithOtherContent,
}

impl Refusal {
    /// One of each kind with a stand-in for what varies, for documents that list them.
    pub fn each() -> [Self; 11] {
        let varying = || "…".to_owned();
        [
            Self::StorageFailed,
            Self::DuplicateWithOtherContent,
            Self::SopClassNotSupported(varying()),
            Self::NotAuthorised,
            Self::OutOfResources(varying()),
            Self::DoesNotMatchSopClass(varying()),
            Self::MissingAttribute("…"),
            Self::InvalidAttribute { attribute: "…", reason: varying() },
            Self::CannotUnderstand(varying()),
            Self::TooLarge(64 << 30),
            Self::TransferSyntaxNotSupported(varying()),
        ]
    }

    /// Returns the C-STORE status (PS3.4 table B.2-1, PS3.7 annex C), which is also the STOW-RS
    /// Failure Reason (PS3.18 annex I.2).
    pub fn code(&self) -> u16 {
        match self {
            Self::NotAuthorised => 0x0124,
            Self::OutOfResources(_) => 0xA700,
            Self::StorageFailed => 0x0110,
            Self::DoesNotMatchSopClass(_) => 0xA900,
            Self::MissingAttribute(_) => 0xA900,
            Self::InvalidAttribute { .. } => 0xA900,
            Self::CannotUnderstand(_) => 0xC000,
            // Not A700: a sender would try again for ever. The last digits are ours to choose.
            Self::TooLarge(_) => 0xC001,
            Self::SopClassNotSupported(_) => 0x0122,
            Self::TransferSyntaxNotSupported(_) => 0xC122,
            Self::DuplicateWithOtherContent => 0x0111,
        }
    }

    /// Whether sending the same bytes again later can succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::OutOfResources(_) | Self::StorageFailed)
    }
}
