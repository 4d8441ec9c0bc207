//! The behaviour that both databases must show: ordinary async functions over [`Catalog`], each run
//! on SQLite always and on Postgres where `QIANLI_TEST_POSTGRES` names a server on which databases
//! may be created. With `QIANLI_REQUIRE_POSTGRES=1` a missing server is a failure.

mod access;
mod auditing;
mod conflicts;
mod contention;
mod deleting;
mod destinations;
mod factors;
mod feed;
mod fixture;
mod grants;
mod identities;
mod jobs;
mod names;
mod orders;
mod peers;
mod plans;
mod querying;
mod reading;
mod recording;
mod retrieval;
mod routing;
mod schema;
mod search;
mod workitem_events;
mod workitem_search;
mod workitems;

/// Makes one test per database from each function of the suite.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    let place = crate::suite::fixture::Place::sqlite().await;
                    super::$name(&place.catalog).await;
                    place.leave().await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    let Some(place) = crate::suite::fixture::Place::postgres().await else { return };
                    super::$name(&place.catalog).await;
                    place.leave().await;
                }
            )*
        }
    };
}
use on_both;
