//! The resampler: sound of any rate and any channels, in pieces of any size, has the bits of the
//! whole in one piece, and as many samples as its time has at 16 kHz.
//!
//! The input is four bytes for the rate, one for the channels, one for the sizes of the pieces, and
//! samples of two bytes.

use carat::audio::{Clip, RATE, SamplesError, Stream};

use crate::said;

/// Resamples the sound in `data` whole and in pieces.
pub fn resample(data: &[u8]) -> bool {
    let Some((head, rest)) = data.split_first_chunk::<6>() else { return false };
    let [a, b, c, d, channels, pieces] = *head;
    // Two of three rates are possible ones.
    let word = u32::from_le_bytes([a, b, c, d]);
    let rate = if pieces % 3 == 0 { word } else { 1000 + word % 767_001 };
    let channels = usize::from(channels % 66);
    let samples: Vec<f32> = rest.chunks(2).map(sample).collect();

    let whole = Clip::from_pcm(&samples, rate, channels);
    let stream = Stream::new(rate, channels);
    let (clip, mut stream) = match (whole, stream) {
        (Ok(clip), Ok(stream)) => (clip, stream),
        (Err(error), stream) => {
            let is_refused =
                matches!(error, SamplesError::SampleRate { .. } | SamplesError::Channels { .. });
            assert_eq!(stream.is_err(), is_refused, "{error}");
            return said::refused(&error);
        }
        (Ok(_), Err(error)) => panic!("a stream was refused: {error}"),
    };
    let frames = (samples.len() / channels) as u64;
    let wanted = (frames * u64::from(RATE) + u64::from(rate) / 2) / u64::from(rate);
    assert_eq!(clip.samples().len() as u64, wanted, "{frames} instants of {rate} Hz");
    // A mean of channels is at most the loudest, a filter's output a few times its input.
    let loudest = samples.iter().fold(0.0, |most: f32, s| most.max(s.abs()));
    let most = clip.samples().iter().fold(0.0, |most: f32, s| most.max(s.abs()));
    assert!(
        clip.samples().iter().all(|s| s.is_finite()) && most <= 4.0 * loudest,
        "{most} of {loudest}"
    );

    let mut pieced = Vec::new();
    let (mut rest, mut state) = (&samples[..], usize::from(pieces) + 1);
    while !rest.is_empty() {
        state = state * 73 % 257;
        let (piece, more) = rest.split_at(state.min(rest.len()));
        stream.push(piece, &mut pieced).expect("the whole was taken");
        rest = more;
    }
    stream.finish(&mut pieced).expect("the whole was taken");
    let bits = |samples: &[f32]| samples.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
    assert!(bits(&pieced) == bits(clip.samples()), "in pieces it is another sound");
    true
}

/// A sample from -1 to 1; some are louder, and a few are no sound.
fn sample(pair: &[u8]) -> f32 {
    let word = i16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]);
    match word {
        0x7ffe => 1e9,
        0x7ffd => f32::NAN,
        0x7ffc => f32::MIN_POSITIVE,
        word => f32::from(word) / 32_768.0,
    }
}

/// Rates below, at and above the model's, and those with large common parts and with none.
pub fn resample_seeds() -> Vec<Vec<u8>> {
    let rates = [8000u32, 16_000, 44_100, 48_000, 192_000, 1000, 768_000, 11_025, 15_999, 999];
    let seed = |(i, rate): (usize, u32)| {
        let pieces = [i as u8 % 4 + 1, 3 * i as u8];
        let sound = (0..240u32 * (1 + i as u32 % 3)).map(|at| (at * at * 31 % 251) as u8);
        rate.to_le_bytes().into_iter().chain(pieces).chain(sound).collect()
    };
    rates.into_iter().enumerate().map(seed).collect()
}
