//! What rendering of one instance needs: its attributes, its palettes and tables, its frames.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use qianli_archive::{Inflating, Memory, Turn};
use qianli_catalog::types::{Detail, Location};
use qianli_imaging::{Cine, RenderOptions, Rendering};

use super::super::frames::padded_frame;
use super::super::nothing_here;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};
use crate::error::HttpError;
use crate::pixels::{Picture, PixelError, WAIT};

/// Most bytes of palettes, lookup tables, overlays and profiles that are fetched for one image. A
/// table has at most 128 KiB, an overlay one bit per pixel.
const MAX_BULK: u64 = 16 << 20;

/// Up to this length (bytes), reading a header takes less time than handing it to another thread.
const SHORT_HEADER: usize = 16 << 10;

/// An instance that frames are rendered of.
#[derive(Clone)]
pub(super) struct Source {
    detail: Arc<Detail>,
    rendering: Arc<Rendering>,
    inflating: Inflating,
}

impl Source {
    /// Reads attributes and fetches what they refer to.
    pub(super) async fn open(
        state: &WebState,
        caller: &Caller,
        detail: &Arc<Detail>,
    ) -> Result<Self, HttpError> {
        let stored = detail.location.transfer_syntax;
        if !qianli_imaging::can_decode(stored) {
            let message = format!("this image cannot be rendered here: it is {}", stored.name());
            return Err(HttpError::not_acceptable(message));
        }
        let mut rendering = if detail.json.len() <= SHORT_HEADER {
            Rendering::read(&detail.json, stored).map_err(PixelError::from)?
        } else {
            let shared = Arc::clone(detail);
            let read = move || Rendering::read(&shared.json, stored);
            state.pixels().run_within(detail.json.len() as u64, read).await?
        };
        let mut left = MAX_BULK;
        for path in rendering.wanted() {
            let value = detail.bulk.iter().find(|value| value.path == path);
            let Some(value) = value.filter(|value| value.range.length <= left) else {
                continue;
            };
            left -= value.range.length;
            let steps: Vec<Bytes> =
                state.archive().bulk(&caller.scope, detail, value).await?.try_collect().await?;
            rendering.supply(&path, steps.concat());
        }
        let (detail, rendering) = (Arc::clone(detail), Arc::new(rendering));
        Ok(Self { detail, rendering, inflating: Inflating::default() })
    }

    /// Renders one frame, counted from 1.
    pub(super) async fn render(
        &self,
        state: &WebState,
        caller: &Caller,
        number: u32,
        options: &RenderOptions,
    ) -> Result<Picture, HttpError> {
        let memory = self.reserve(state, number, options).await?;
        let bit_offset = self.detail.frames.bit_offset(number);
        let (rendering, options) = (Arc::clone(&self.rendering), options.clone());
        let work = move |frame: &[u8]| rendering.render(frame, bit_offset, number, &options);
        let (scope, detail, at) = (&caller.scope, &self.detail, &self.inflating);
        let turn = Turn { patience: WAIT, memory: &memory };
        let rendered = state.archive().with_frame(scope, detail, number, at, turn, work).await?;
        let mut rendered = rendered.map_err(PixelError::from)?;
        rendered.bytes.shrink_to_fit();
        let content_type = rendered.content_type;
        Ok(Picture { bytes: memory.hold(rendered.bytes), content_type })
    }

    /// URL of the instance.
    pub(super) fn url(&self, base: &BaseUrl) -> String {
        let Location { study, series, instance, .. } = &self.detail.location;
        base.instance(study, series, instance)
    }

    /// Starts an animation; see [`Cine::new`].
    pub(super) fn cine(&self, step: u32) -> Cine {
        Cine::new(&self.rendering, step)
    }

    /// Adds a frame to an animation, and gives it back with the bytes that this adds.
    pub(super) async fn push(
        &self,
        state: &WebState,
        caller: &Caller,
        mut cine: Cine,
        number: u32,
        options: &RenderOptions,
    ) -> Result<(Cine, Vec<u8>), HttpError> {
        let memory = self.reserve(state, number, options).await?;
        let frame = self.frame(state, caller, number).await?;
        let bit_offset = self.detail.frames.bit_offset(number);
        let (rendering, options) = (Arc::clone(&self.rendering), options.clone());
        let work = move || {
            let bytes = cine.push(&rendering, &frame, bit_offset, number, &options)?;
            drop(frame);
            Ok((cine, bytes))
        };
        Ok(state.pixels().run_with(&memory, work).await?)
    }

    /// Sets aside what rendering a frame takes. The frame is not read before: many who wait must not
    /// each hold one.
    async fn reserve(
        &self,
        state: &WebState,
        number: u32,
        options: &RenderOptions,
    ) -> Result<Memory, HttpError> {
        let ranges = self.detail.frames.frame(number).unwrap_or_default();
        let stored: u64 = ranges.iter().map(|range| range.length).sum();
        let bytes = self.rendering.memory(options).saturating_add(stored);
        Ok(state.pixels().reserve(bytes).await?)
    }

    /// The bytes of one frame as stored.
    async fn frame(
        &self,
        state: &WebState,
        caller: &Caller,
        number: u32,
    ) -> Result<Bytes, HttpError> {
        if let Some(frame) = padded_frame(state, caller, &self.detail).await? {
            return Ok(frame);
        }
        let (archive, at) = (state.archive(), &self.inflating);
        let frames = archive.frames(&caller.scope, &self.detail, &[number], at).await?;
        frames.into_iter().next().ok_or_else(nothing_here)
    }
}
