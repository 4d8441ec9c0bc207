//! Multi-frame images as an animated GIF, frame after frame, so that no more than one is in memory.

use std::mem::take;

use gif::{Encoder, Frame, Repeat};

use crate::encode::Picture;
use crate::{ImagingError, RenderOptions, Rendering, guarded, malformed};

/// How long a frame is shown when nothing says so (ms).
const DEFAULT_MS: f64 = 100.0;

/// Browsers show shorter delays than this (1/100 s) for a tenth of a second.
const SHORTEST: f64 = 2.0;

/// Speed of choosing 256 colours for a frame: 1 is best, 30 fastest.
const COLOUR_SPEED: i32 = 15;

/// An animation that is being written.
pub struct Cine {
    encoder: Option<Encoder<Vec<u8>>>,
    size: (u16, u16),
    /// Hundredths of a second.
    delay: u16,
}

impl Cine {
    /// Starts an animation of frames of an instance; `step` is how many frames of it each frame of
    /// the animation stands for.
    pub fn new(rendering: &Rendering, step: u32) -> Self {
        let ms = rendering.frame_time().unwrap_or(DEFAULT_MS) * f64::from(step.max(1));
        let delay = (ms / 10.0).round().clamp(SHORTEST, f64::from(u16::MAX)) as u16;
        Self { encoder: None, size: (0, 0), delay }
    }

    /// Renders one more frame and returns the bytes of the file that this adds. For the arguments
    /// see [`Rendering::render`]; format, quality and profile have no effect.
    ///
    /// # Errors
    ///
    /// As [`Rendering::render`].
    pub fn push(
        &mut self,
        rendering: &Rendering,
        frame: &[u8],
        bit_offset: u8,
        number: u32,
        options: &RenderOptions,
    ) -> Result<Vec<u8>, ImagingError> {
        guarded(|| {
            let picture = rendering.picture(frame, bit_offset, number, options)?;
            self.add(picture)
        })
    }

    /// Ends the file and returns its last bytes.
    pub fn end(self) -> Vec<u8> {
        self.encoder.and_then(|encoder| encoder.into_inner().ok()).unwrap_or_default()
    }

    fn add(&mut self, picture: Picture) -> Result<Vec<u8>, ImagingError> {
        let (Ok(width), Ok(height)) = (u16::try_from(picture.width), u16::try_from(picture.height))
        else {
            return Err(ImagingError::TooLarge);
        };
        let refused = |_| ImagingError::Malformed("the animation cannot be written".into());
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => {
                let grays: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
                let mut encoder =
                    Encoder::new(Vec::new(), width, height, &grays).map_err(refused)?;
                encoder.set_repeat(Repeat::Infinite).map_err(refused)?;
                self.size = (width, height);
                none.insert(encoder)
            }
        };
        // Pixel measures of frames may differ, and with them the size of pictures.
        if self.size != (width, height) {
            return malformed("frames of different size");
        }
        let mut frame = if picture.channels == 1 {
            Frame { width, height, buffer: picture.samples.into(), ..Frame::default() }
        } else {
            Frame::from_rgb_speed(width, height, &picture.samples, COLOUR_SPEED)
        };
        frame.delay = self.delay;
        encoder.write_frame(&frame).map_err(refused)?;
        Ok(take(encoder.get_mut()))
    }
}

#[cfg(test)]
mod tests {
    use qianli_model::TransferSyntax;

    use super::*;
    use crate::testdata::json;

    fn animated(words: &str, frames: &[&[u8]]) -> Vec<u8> {
        let text = json(words);
        let rendering = Rendering::read(text.as_bytes(), TransferSyntax::EXPLICIT_LITTLE).unwrap();
        let mut cine = Cine::new(&rendering, 1);
        let mut file = Vec::new();
        for (frame, number) in frames.iter().zip(1..) {
            let options = RenderOptions::default();
            file.extend(cine.push(&rendering, frame, 0, number, &options).unwrap());
        }
        file.extend(cine.end());
        file
    }

    #[test]
    fn gray_frames_are_exact_and_keep_their_time() {
        let file = animated("00181063=40", &[&[0, 10, 20, 255], &[1, 2, 3, 4]]);
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::Indexed);
        let mut decoder = options.read_info(&file[..]).unwrap();
        for expected in [[0, 10, 20, 255], [1, 2, 3, 4]] {
            let frame = decoder.read_next_frame().unwrap().unwrap();
            assert_eq!(frame.delay, 4);
            assert_eq!(*frame.buffer, expected);
        }
        assert!(decoder.read_next_frame().unwrap().is_none());
    }

    #[test]
    fn few_colours_are_kept() {
        let words = "samples=3 photometric=RGB rows=1 00082144=20";
        let file = animated(words, &[&[255, 0, 0, 0, 0, 255]]);
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(&file[..]).unwrap();
        let frame = decoder.read_next_frame().unwrap().unwrap();
        assert_eq!(frame.delay, 5);
        assert_eq!(*frame.buffer, [255, 0, 0, 255, 0, 0, 255, 255]);
    }
}
