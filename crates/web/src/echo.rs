//! Asking a DICOM peer whether it is there. The binary does it, which can call; the pages show what came
//! of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use qianli_model::destination::{Destination, Trouble};

/// What came of it: the time that the answer took, or the trouble with what is known of it, in English
/// and without secrets.
pub type Echoed = Result<Duration, (Trouble, String)>;

type Asked = Pin<Box<dyn Future<Output = Echoed> + Send>>;

/// Sends a C-ECHO to a destination.
#[derive(Clone)]
pub struct Echo(Arc<dyn Fn(Destination) -> Asked + Send + Sync>);

impl Echo {
    /// One that asks so. It ends by itself.
    pub fn new<F>(ask: impl Fn(Destination) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Echoed> + Send + 'static,
    {
        Self(Arc::new(move |to| Box::pin(ask(to))))
    }

    pub(crate) async fn ask(&self, to: Destination) -> Echoed {
        (self.0)(to).await
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo")
    }
}
