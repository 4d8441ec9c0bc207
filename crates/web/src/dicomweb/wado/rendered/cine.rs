//! Several frames as one animated GIF, bounded in length and size.

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use qianli_imaging::{Cine, RenderOptions, Viewport};

use super::several::broken;
use super::source::Source;
use super::{Asked, GIF};
use crate::dicomweb::respond;
use crate::error::HttpError;

/// Most frames of an animation; of more, every second, third and so on is shown for longer.
const MOST_FRAMES: usize = 512;

/// Longest side of an animation when the client does not say (pixels), and at all.
const SIDE: u32 = 512;
const LONGEST_SIDE: u32 = 1024;

/// An animation of frames of an instance.
pub(super) async fn answer(
    asked: &Asked<'_>,
    source: Source,
    numbers: &[u32],
    mut options: RenderOptions,
) -> Result<Response, HttpError> {
    let viewport = options.viewport.get_or_insert(Viewport::within(SIDE, SIDE));
    viewport.width = viewport.width.min(LONGEST_SIDE);
    viewport.height = viewport.height.min(LONGEST_SIDE);
    let step = numbers.len().div_ceil(MOST_FRAMES).max(1);
    let numbers: Vec<u32> = numbers.iter().copied().step_by(step).collect();
    let mut numbers = numbers.into_iter();

    let mut cine = source.cine(step as u32);
    let first = match numbers.next() {
        Some(number) => {
            let (next, bytes) =
                source.push(asked.state, asked.caller, cine, number, &options).await?;
            cine = next;
            bytes
        }
        None => Vec::new(),
    };
    let (state, caller) = (asked.state.clone(), asked.caller.clone());
    let start = Some((cine, numbers));
    let rest = stream::unfold(start, move |at: Option<(Cine, std::vec::IntoIter<u32>)>| {
        let (state, caller) = (state.clone(), caller.clone());
        let (source, options) = (source.clone(), options.clone());
        async move {
            let (cine, mut numbers) = at?;
            let Some(number) = numbers.next() else {
                return Some((Ok(Bytes::from(cine.end())), None));
            };
            match source.push(&state, &caller, cine, number, &options).await {
                Ok((cine, bytes)) => Some((Ok(bytes.into()), Some((cine, numbers)))),
                Err(error) => Some((Err(broken(&error)), None)),
            }
        }
    });
    let content = stream::iter([Ok(Bytes::from(first))]).chain(rest);
    Ok(respond::streamed(GIF, content.boxed(), None))
}
