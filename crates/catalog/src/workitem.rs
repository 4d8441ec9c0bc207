//! Workitems (PS3.4 annex CC): rows, what they are found by, who follows them, and the event reports
//! that wait for delivery. What a request makes of a workitem is decided in
//! [`qianli_model::workitem`]; here it is made to last, once, whatever other nodes do meanwhile.

pub(crate) mod compile;
mod follow;
mod keys;
pub(crate) mod read;
mod retain;
pub(crate) mod tx;
pub(crate) mod write;

use qianli_model::workitem::search::Search;
use qianli_model::workitem::{Change, Event, Held, Refusal};
use qianli_model::{AeTitle, Scope, SopInstanceUid};

use crate::catalog::Catalog;
use crate::error::CatalogError;

pub use retain::Retention;

/// A workitem, or what is left of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// It is here.
    Here(Held),
    /// It was here and its time is over.
    Removed,
    /// Never heard of, as far as we remember.
    Absent,
}

/// What somebody subscribes to (PS3.4 CC.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One workitem.
    Workitem(SopInstanceUid),
    /// All there are and all to come.
    Worklist,
    /// Those that a filter matches, now and to come: the text that
    /// [`qianli_model::workitem::search::filter`] reads. As a subject to leave, an empty text means
    /// whatever filter.
    Filtered(String),
}

/// An event report that waits for one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkitemEvent {
    /// Position; a receiver that has seen N asks for what is after N.
    pub sequence: i64,
    /// The workitem's UID.
    pub workitem: String,
    /// Event Type ID.
    pub kind: i64,
    /// DICOM JSON object of the report's attributes.
    pub attributes: String,
}

impl Catalog {
    /// Keeps a new workitem and tells those who follow the worklist. Returns whether it was new.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn create_workitem(
        &self,
        scope: &Scope,
        uid: &SopInstanceUid,
        held: &Held,
        events: &[Event],
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        write::create(self.db(), scope, uid, held, events, now_ms).await
    }

    /// One workitem.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn workitem(
        &self,
        scope: &Scope,
        uid: &SopInstanceUid,
    ) -> Result<Kept, CatalogError> {
        Ok(read::workitem(self.db(), scope, uid).await?.0)
    }

    /// Changes a workitem as `decide` says. When another node was faster, `decide` is asked again
    /// about what that made of it: of two who claim one workitem, exactly one succeeds.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`]; the refusals of `decide` are the inner result.
    pub async fn change_workitem(
        &self,
        scope: &Scope,
        uid: &SopInstanceUid,
        now_ms: i64,
        decide: impl Fn(&Held) -> Result<Change, Refusal>,
    ) -> Result<Result<Change, Refusal>, CatalogError> {
        write::change(self.db(), scope, uid, now_ms, decide).await
    }

    /// Workitems that a search matches, as DICOM JSON objects, by start date-time and then by age.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn find_workitems(
        &self,
        scope: &Scope,
        search: &Search,
    ) -> Result<Vec<String>, CatalogError> {
        read::find(self.db(), scope, search).await
    }

    /// How many workitems a search matches, whatever its limit and offset.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn count_workitems(
        &self,
        scope: &Scope,
        search: &Search,
    ) -> Result<i64, CatalogError> {
        read::count(self.db(), scope, search).await
    }

    /// Subscribes a receiver and prepares its first reports: the state of each workitem that it was
    /// not subscribed to and that is not final, the latest 4,000 of them.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`]; the inner refusal says that there is no such workitem.
    pub async fn subscribe(
        &self,
        scope: &Scope,
        aet: &AeTitle,
        subject: &Subject,
        deletion_lock: bool,
        now_ms: i64,
    ) -> Result<Result<(), Refusal>, CatalogError> {
        follow::subscribe(self.db(), scope, aet, subject, deletion_lock, now_ms).await
    }

    /// Ends a subscription; that of a worklist ends those of its workitems too. Returns whether
    /// there was one.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`]; the inner refusal says that there is no such workitem.
    pub async fn unsubscribe(
        &self,
        scope: &Scope,
        aet: &AeTitle,
        subject: &Subject,
    ) -> Result<Result<bool, Refusal>, CatalogError> {
        follow::unsubscribe(self.db(), scope, aet, subject).await
    }

    /// Stops subscribing a receiver to workitems to come; what it is subscribed to stays. Returns
    /// whether there was such a subscription.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn suspend(
        &self,
        scope: &Scope,
        aet: &AeTitle,
        subject: &Subject,
    ) -> Result<bool, CatalogError> {
        follow::suspend(self.db(), scope, aet, subject).await
    }

    /// Reports for a receiver after a position, oldest first.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn workitem_events(
        &self,
        scope: &Scope,
        aet: &AeTitle,
        after: i64,
        limit: u32,
    ) -> Result<Vec<WorkitemEvent>, CatalogError> {
        read::events(self.db(), scope, aet, after, limit).await
    }

    /// The position that a receiver has confirmed; 0 for a new one.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn delivered(&self, scope: &Scope, aet: &AeTitle) -> Result<i64, CatalogError> {
        read::delivered(self.db(), scope, aet).await
    }

    /// Remembers that a receiver has everything up to a position.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn confirm_delivery(
        &self,
        scope: &Scope,
        aet: &AeTitle,
        sequence: i64,
    ) -> Result<(), CatalogError> {
        write::confirm(self.db(), scope, aet, sequence).await
    }

    /// The highest position of any report of any tenant, for a node that watches for new ones.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn newest_workitem_event(&self) -> Result<i64, CatalogError> {
        read::newest_event(self.db()).await
    }

    /// Removes, of every tenant, a batch of what has been final for long enough and nobody has locked,
    /// reports that nobody fetched, and the memory of workitems that were removed long ago. Returns
    /// how many workitems were removed; zero means that there are no more.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn expire_workitems(
        &self,
        retention: Retention,
        now_ms: i64,
    ) -> Result<u32, CatalogError> {
        let mut removed = 0_u32;
        for tenant in retain::tenants(self.db()).await? {
            let batch = retain::expire(self.db(), tenant, retention, now_ms).await?;
            removed = removed.saturating_add(batch);
        }
        Ok(removed)
    }
}
