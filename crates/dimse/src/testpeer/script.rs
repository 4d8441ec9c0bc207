//! For tests: handlers of requests with several messages, which do what the data set says.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use qianli_model::{SopClassUid, SopInstanceUid};

use super::{CT, Diary, Entry};
use crate::exchange::{Exchange, Invocation, Invoked, OperationRequest, Reply};
use crate::message::SubOperations;
use crate::services::Service;
use crate::status::Status;

/// Study Root Query/Retrieve Information Model - FIND.
pub const FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
/// Study Root Query/Retrieve Information Model - GET.
pub const GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";
/// Storage Commitment Push Model.
pub const COMMITMENT: &str = "1.2.840.10008.1.20.1";

/// What each object of a C-GET holds.
pub const OBJECT: usize = 300_000;

/// Works off a request: so many matches or objects as the data set says in ASCII; `silent` answers
/// nothing.
pub async fn perform(request: OperationRequest, exchange: &mut Exchange, diary: &Diary) {
    let wanted = request.data.unwrap_or_default();
    let wanted = String::from_utf8_lossy(&wanted).trim().to_owned();
    if wanted == "silent" {
        return;
    }
    let wanted: u16 = wanted.parse().unwrap_or(1);
    match request.service {
        Service::Query => {
            for _ in 0..wanted {
                if exchange.is_cancelled() {
                    return exchange.reply(Reply::new(Status::CANCEL)).await;
                }
                exchange.reply(Reply::matched(vec![7; 1000])).await;
            }
            exchange.reply(Reply::success()).await;
        }
        Service::Get => {
            let context = request.contexts.iter().find(|context| context.requestor_is_scp);
            let context = context.map_or(99, |context| context.id);
            let mut counts = SubOperations::default();
            for number in 1..=wanted {
                if exchange.is_cancelled() {
                    counts.remaining = Some(wanted + 1 - number);
                    return exchange.reply(Reply::new(Status::CANCEL).counting(counts)).await;
                }
                let data = stream::iter([Ok(Bytes::from(vec![number as u8; OBJECT]))]).boxed();
                let command = Invoked::Store {
                    sop_class: SopClassUid::parse(CT).unwrap(),
                    sop_instance: SopInstanceUid::parse(&format!("1.2.{number}")).unwrap(),
                    move_originator: None,
                };
                match exchange.invoke(Invocation { context, command, data }).await {
                    Ok(answer) if answer.status.is_done() => counts.completed += 1,
                    _ => counts.failed += 1,
                }
                let pending = SubOperations { remaining: Some(wanted - number), ..counts };
                exchange.reply(Reply::new(Status::PENDING).counting(pending)).await;
            }
            exchange.reply(Reply::success().counting(counts)).await;
        }
        _ => {
            exchange.reply(Reply::success()).await;
            let data = stream::iter([Ok(Bytes::from_static(b"result"))]).boxed();
            let command = Invoked::EventReport {
                sop_class: SopClassUid::parse(COMMITMENT).unwrap(),
                sop_instance: SopInstanceUid::parse("1.2.840.10008.1.20.1.1").unwrap(),
                event_type: 1,
            };
            let context = request.context.id;
            let answer = exchange.invoke(Invocation { context, command, data }).await;
            let answer = answer.map(|answer| answer.status);
            diary.lock().unwrap().push(Entry::Reported(answer));
        }
    }
}
