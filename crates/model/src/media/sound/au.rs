//! AU files, the sound of early Unix: 24 bytes of header, big-endian, and the samples.

use std::io::{Read, Seek, SeekFrom};

use super::AudioError;
use super::pcm::{Coding, Layout, Pcm, number, read_up_to};

/// Reads up to the first sample.
///
/// # Errors
/// A header that ends early or makes no sense, or a coding, rate or channel count of no use.
pub(crate) fn open<R: Read + Seek>(mut source: R) -> Result<Pcm<R>, AudioError> {
    source.seek(SeekFrom::Start(0))?;
    let header = read_up_to(&mut source, 24)?;
    let (words, _) = header.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|word| number(word, true) as u32).collect();
    let &[_, offset, size, encoding, rate, channels] = words.as_slice() else {
        let why = "it ends within its header".to_string();
        return Err(AudioError::Damaged { container: "AU", why });
    };
    let (coding, bytes_per_sample) = match encoding {
        1 => (Coding::MuLaw, 1),
        2..=5 => (Coding::Integer, encoding as usize - 1),
        6 => (Coding::Float, 4),
        7 => (Coding::Float, 8),
        27 => (Coding::ALaw, 1),
        _ => {
            let codec = match encoding {
                23..=26 => "ADPCM (G.721 to G.723)".to_string(),
                other => format!("in the unknown encoding {other}"),
            };
            return Err(AudioError::UnsupportedCodec { container: "AU", codec });
        }
    };
    if offset < 24 {
        let why = format!("its samples are said to begin at byte {offset}");
        return Err(AudioError::Damaged { container: "AU", why });
    }
    source.seek(SeekFrom::Start(offset.into()))?;
    let channels = usize::try_from(channels).unwrap_or(usize::MAX);
    let layout = Layout { coding, bytes_per_sample, big_endian: true, rate, channels };
    Pcm::new(source, layout, (size != SIZE_UNKNOWN).then_some(size.into()))
}

/// What a program writes that does not know the size yet.
const SIZE_UNKNOWN: u32 = u32::MAX;
