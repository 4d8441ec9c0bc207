//! Keys of blobs: readable by a person, unique per attempt.

use qianli_model::{InstanceHeader, Scope};

use crate::ArchiveError;

/// `tenant/study/series/instance.HASH.NONCE.dcm`.
///
/// The hash (half of the content hash) lets a rebuild prove that an object is whole. The nonce makes
/// every attempt's key new: nothing is ever overwritten, a partly written object can never be taken
/// for a whole one, and removing an orphan cannot race with a sender who tries again (decision 0002).
pub(crate) fn blob_key(scope: &Scope, header: &InstanceHeader, content_hash: &str) -> String {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    format!(
        "{tenant}/{study}/{series}/{instance}.{hash}.{nonce}.dcm",
        tenant = scope.tenant().0,
        study = header.study_uid,
        series = header.series_uid,
        instance = header.sop_instance_uid,
        hash = content_hash.get(..32).unwrap_or(content_hash),
        nonce = nonce.get(..8).unwrap_or(&nonce),
    )
}
/// The second wall between tenants: whatever a row says, an object whose key begins with another
/// tenant's number is not read, restored or removed for this scope (decision 0017).
pub(crate) fn guard<'k>(
    scope: &Scope,
    keys: impl IntoIterator<Item = &'k str>,
) -> Result<(), ArchiveError> {
    let own = format!("{}/", scope.tenant().0);
    for key in keys {
        if !key.starts_with(&own) {
            tracing::error!(
                key,
                tenant = scope.tenant().0,
                "a row of one tenant names an object of another, which is left alone; this must not \
                 happen: report it"
            );
            metrics::counter!("qianli_foreign_objects_total").increment(1);
            return Err(ArchiveError::Damaged("its row names another tenant's object".into()));
        }
    }
    Ok(())
}
