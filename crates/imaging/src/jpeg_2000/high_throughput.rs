//! Streams whose code blocks are coded for high throughput (HTJ2K, ISO/IEC 15444-15), decoded by
//! dicom-toolkit-jpeg2000.

use std::borrow::Cow;

use dicom_toolkit_jpeg2000::{DecodeSettings, Image};

use crate::{ImagingError, malformed};

/// Most bit planes, guard bits among them, that the decoder takes.
const MAX_BIT_PLANES: u8 = 31;

/// Decodes to samples pixel by pixel; signed ones have half their range added.
pub(super) fn decode(stream: &[u8]) -> Result<Vec<u16>, ImagingError> {
    let settings =
        DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
    let stream = centred(stream);
    let decoded = Image::new(&stream, &settings).and_then(|image| image.decode_native());
    match decoded {
        Ok(bitmap) if bitmap.bytes_per_sample == 1 => {
            Ok(bitmap.data.into_iter().map(u16::from).collect())
        }
        Ok(bitmap) => {
            let words = bitmap.data.as_chunks::<2>().0.iter();
            Ok(words.map(|word| u16::from_le_bytes(*word)).collect())
        }
        Err(_) => malformed("the HTJ2K stream cannot be decoded"),
    }
}

/// Makes the decoder take quantized coefficients at the middle of their interval, as other decoders
/// do and as ISO/IEC 15444-1 equation E-6 recommends: it drops the bit below the last one, in which a
/// code block holds that middle. With exponents one greater (annex A.6.4) steps are half as large,
/// and that bit becomes the last one.
fn centred(stream: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Cow::Borrowed(stream);
    let wide = stream.get(40..42).is_some_and(|count| count > &[1, 0]);
    let mut position = 2;
    while let Some([0xFF, marker, high, low]) = stream.get(position..position + 4) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let end = position + 2 + length;
        // QCD, and QCC behind its component; the first tile ends the main header.
        let style = match marker {
            0x5C => position + 4,
            0x5D if wide => position + 6,
            0x5D => position + 5,
            0x90 => break,
            _ => {
                position = end;
                continue;
            }
        };
        let Some((style, steps)) = stream.get(style..end).and_then(<[u8]>::split_first) else {
            break;
        };
        let most = MAX_BIT_PLANES.saturating_sub(style >> 5);
        let fits = steps.as_chunks::<2>().0.iter().all(|[exponent, _]| exponent >> 3 < most);
        if matches!(style & 31, 1 | 2) && fits {
            let steps = out.to_mut().get_mut(end - steps.len()..end).unwrap_or_default();
            steps.as_chunks_mut::<2>().0.iter_mut().for_each(|[exponent, _]| *exponent += 1 << 3);
        }
        position = end;
    }
    out
}

#[cfg(test)]
mod tests {
    use qianli_model::TransferSyntax;

    use super::centred;
    use crate::ImagingError;
    use crate::testdata::{Random, bytes, json};

    const LABELS: [&str; 2] =
        ["rows=70 columns=5 bits=16 stored=12 high=11 signed=1", "rows=70 columns=5"];

    /// Samples of twelve bits with their sign, without loss, written by OpenJPH.
    const LOSSLESS: &str = "\
        ff4fff5100294000000000050000004600000000000000000000000500000046000000000000000000018b \
        0101ff500008000200000007ff52000c00020001000204044001ff5c000a2070787878707070ff90000a00 \
        000000026a0001ff93c00177a045d14733e7a374931d50b4aeb07dec652419a1a1d2910d037eb7e5b9898b \
        2625d926595a4af724a1a91b9288bc810c6449eb58d9e8ea4729b1d1c33b00c000ba580017790002e9c0eb \
        e21314ac4246aeb36be7d3d7b4a67a7b155929f90805e809fe3fbfdfafdfe3fbf30b7d008dca9da54096cb \
        48f21b11a6e70d0fef88ca9ada227569043a8911a103025bc03262128d58ddf011920345aa939654ee0bfc \
        9f4cba53a91cc4c29c00d735f9c96e8bf0d92024147f0f5a036a655b35515b6d0ce7350c3fefcfc21fcfe7 \
        f7f5f30b7e00c0017b840017d510005eca60d4054739ea1aae2d4ed3125117ff545b2c122d1b5f0bc74896 \
        2e61842830e608479edc3561a13888a66b5dff332230e5eb922c49e36818d1e53f9d45348e11d7939fb4b8 \
        60215110f5bfea82e91281a45f1747494a9730fe479d028af4e921b18b9baa1a394a5bab53870c2ca3d501 \
        60ac5b17d3276e9d75ff131174894d3ae344ff7b7f44496c67af63a2fc1716c2ecbaea521792ba4ea2c018 \
        cbeb7222ff7bdfc412651d3a2b11fe8b6d75e984c2acee7569caeb5e575d61445275b9ee7fc070dd24e27f \
        99461d4fec44d6255160cb3038d1ff79dfba5a2761bc2e75353d8cd7a9ab2e24fd1faef39f676666f9040b \
        cebfbba62bb5ff079e8e31dbe60dd5e9eae6898c037fa612f3244f1493c524e5e9bb10c06fd90286715d5e \
        d713ff3f4dc489f83fff6f753bf113fdbf273a0ceb4c94613851ff777f4f6cdd26e27ffe672227f2baae6b \
        5d0ee3ff39674de4ff1cf113b9ae13fdff7f77ddd7b52ed73d0cebfabf27f20811f787d1a74e99edecd0f1 \
        389e51dd1c8f5eece3d701ffd9";

    /// Samples of eight bits with the irreversible wavelet, in steps of 2.56.
    const LOSSY: &str = "\
        ff4fff51002940000000000500000046000000000000000000000005000000460000000000000000000107 \
        0101ff500008000200000020ff52000c00020001000204044000ff5c0011224a904e6b4e6b41d8469b469b \
        3a3dff90000a0000000001820001ff93c02ea837277d98242b096b2ddf575062d504a46259fa59886ee885 \
        f0372e70101cf3163cf4752394f1d0c33b00c02d9805d2c05b005a65c3aefb995d120450008fc01ff6bf5f \
        47f9d807f00f7f008f21f48e3925f3a162c2cd23b8200d838032288ce5950d7afe3fe873e2e94ea4733843 \
        bc0047d96315e85dc0d460f9f967fdf9fe3f9fa3fbfdf00b7d00c05df405ecf02ef02abb3291270a5dbbab \
        41c2d40d12c118631a8abf6b217ea80e6e4ca82d677d131fdc1724d8a9a7550efc095e9d26bcf973faa1c7 \
        8ad3e948d3c295d0540198c485f8631d1d2649293e6f7629728d300a8beb3000948fe59c643c2a6d9ea63a \
        e418bf025ab9066b70202d6e840b7a6388ac877ced2a0233d36b4ae00f52b9f950b7577fb858aed57f45da \
        b3d006346e8f4d9b9970000cfdd3ce93c524e1a9e7513459bf9602411c31d527f27c174fad7c8c6040d3bb \
        4d55069caa911168c0baf481a409f2ac2078200096a0f8199ab87c5f5ae91dbcddbf8807bee92397f40255 \
        01ffd9";

    /// What was encoded.
    fn picture(bits: u32) -> Vec<i32> {
        let places = (0..70).flat_map(|y| (0..5).map(move |x| (x, y)));
        let value = |(x, y)| ((x * 7 + y * 13 + x * y % 11 * 17) << (bits - 8)) & ((1 << bits) - 1);
        places.map(value).collect()
    }

    fn decode(words: &str, number: u8, stream: &[u8]) -> Result<Vec<u8>, ImagingError> {
        let syntax = TransferSyntax::from_uid(&format!("1.2.840.10008.1.2.4.{number}")).unwrap();
        crate::decode(json(words).as_bytes(), syntax, stream, 0)
    }

    #[test]
    fn streams_of_openjph_come_out_right() {
        for number in [201, 202, 203] {
            let lossless = decode(LABELS[0], number, &bytes(LOSSLESS)).unwrap();
            let expected: Vec<u8> =
                picture(12).iter().flat_map(|v| (*v as i16 - 2048).to_le_bytes()).collect();
            assert_eq!(lossless, expected);
        }
        let lossy = decode(LABELS[1], 203, &bytes(LOSSY)).unwrap();
        let errors = lossy.iter().zip(picture(8)).map(|(seen, sent)| i32::from(*seen) - sent);
        let squares: i32 = errors.map(|error| error * error).sum();
        // OpenJPEG's are 663 in all; at the lower ends of the intervals they would be thrice that.
        assert!(squares < 700, "{squares}");
    }

    #[test]
    fn only_quantized_streams_are_centred() {
        assert_eq!(centred(&bytes(LOSSLESS)), bytes(LOSSLESS));
        let centred_lossy = centred(&bytes(LOSSY)).into_owned();
        let raised = bytes(LOSSY)
            .iter()
            .zip(&centred_lossy)
            .filter(|(a, b)| a.wrapping_add(8) == **b)
            .count();
        assert_eq!(raised, 7, "one step for each subband");
        for end in 0..bytes(LOSSY).len() {
            let _ = centred(&bytes(LOSSY)[..end]);
        }
    }

    #[test]
    fn contradictions_and_damage_are_refused_or_survived() {
        for words in ["rows=70 columns=6", "rows=5 columns=70", "rows=70 columns=5 samples=3"] {
            assert!(decode(words, 203, &bytes(LOSSY)).is_err(), "{words}");
        }
        let mut random = Random::new(15_444);
        for (words, stream, length) in [(LABELS[0], LOSSLESS, 700), (LABELS[1], LOSSY, 350)] {
            for _ in 0..1000 {
                let mut stream = bytes(stream);
                for _ in 0..=random.next() % 3 {
                    let at = random.next() as usize % stream.len();
                    stream[at] = random.next() as u8;
                }
                stream.truncate(stream.len() - (random.next() % 3) as usize);
                if let Ok(pixels) = decode(words, 201, &stream) {
                    assert_eq!(pixels.len(), length);
                }
            }
        }
    }
}
