//! A storage SCP that counts what it receives and keeps nothing: for trying senders and for
//! measuring the receiver alone.
//!
//! ```text
//! cargo run -p qianli-dimse --example sink_scp -- 127.0.0.1:11999
//! TCP_NODELAY=1 storescu -aec SINK 127.0.0.1 11999 some/folder +sd +r
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use qianli_dimse::{
    AssociationRequest, Exchange, Implementation, ObjectSink, OperationRequest, Rejection, Reply,
    Scp, ScpConfig, Service, Services, Status, StoreOutcome, StoreRequest,
};
use qianli_model::peer::Admission;
use qianli_model::{Permissions, TenantId};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Totals {
    objects: AtomicU64,
    bytes: AtomicU64,
    chunks: AtomicU64,
}

struct Counting(Arc<Totals>);

struct CountingSink {
    totals: Arc<Totals>,
    bytes: u64,
    chunks: u64,
}

#[async_trait]
impl Services for Counting {
    fn admit(&self, _: &AssociationRequest) -> Result<Admission, Rejection> {
        let (tenant, permissions) = (TenantId::DEFAULT, Permissions::ALL);
        Ok(Admission { tenant, permissions, through: None, rule: None, version: 0 })
    }

    fn service(&self, _: &str) -> Option<Service> {
        Some(Service::Storage)
    }

    async fn begin_store(&self, _: &StoreRequest) -> Result<Box<dyn ObjectSink>, StoreOutcome> {
        Ok(Box::new(CountingSink { totals: Arc::clone(&self.0), bytes: 0, chunks: 0 }))
    }

    async fn perform(&self, _: OperationRequest, exchange: &mut Exchange) {
        exchange.reply(Reply::new(Status::UNRECOGNISED_OPERATION)).await;
    }
}

#[async_trait]
impl ObjectSink for CountingSink {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreOutcome> {
        self.bytes += chunk.len() as u64;
        self.chunks += 1;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> StoreOutcome {
        self.totals.objects.fetch_add(1, Ordering::Relaxed);
        self.totals.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        self.totals.chunks.fetch_add(self.chunks, Ordering::Relaxed);
        StoreOutcome::success()
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    let totals = Arc::new(Totals::default());
    let scp = Scp::new(
        listener,
        ScpConfig::new(Implementation::default()),
        Arc::new(Counting(Arc::clone(&totals))),
    );
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(scp.run(shutdown.clone()));
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    serving.await?;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} objects, {} bytes in {} chunks",
        read(&totals.objects),
        read(&totals.bytes),
        read(&totals.chunks)
    );
    Ok(())
}
