//! The encoder against the reference kit, and against itself written for reading.

mod made;
mod naive;
mod sessions;

use std::fs;
use std::path::Path;

use carat_gguf::{Endian, Gguf, Source, Writer};
use carat_kernels::{Format, Isa};
use rayon::ThreadPool;
use safetensors::SafeTensors;

use super::*;
use crate::arena::Arena;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::shared_kit::shared_kit;
use made::{Random, SMALL, made};
use naive::Naive;

fn pool(threads: usize) -> Pool {
    Pool::new(threads, Isa::best()).expect("threads")
}

fn repacking() -> ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread")
}

fn loaded(gguf: &Gguf<'_>, hidden: usize) -> Result<Conformer> {
    Conformer::load(&ProjectorFile::new(gguf, &repacking()), hidden)
}

/// An encoder in memory.
fn conformer(shape: ConformerShape, format: Format, is_bounded: bool) -> (Conformer, Naive) {
    let bytes = made(shape, HIDDEN, format, is_bounded).to_bytes().expect("a file");
    let gguf = Gguf::parse(&bytes).expect("a file");
    assert_eq!(ConformerShape::of(&gguf).expect("a shape"), shape);
    (loaded(&gguf, HIDDEN).expect("an encoder"), Naive::new(shape, &gguf))
}

/// Embeds some tokens in scratch memory of the size that was declared.
fn embed(
    conformer: &Conformer,
    pool: &Pool,
    samples: &[f32],
    tokens: Range<usize>,
    history: &mut History,
) -> Vec<f32> {
    let hidden = conformer.projection.matrix().view().rows();
    let mut arena = Arena::new(Conformer::need(conformer.shape)).expect("memory");
    let mut out = vec![f32::NAN; tokens.len() * hidden];
    conformer.embed(pool, samples, tokens, history, &mut out, arena.frame());
    out
}

fn whole(conformer: &Conformer, samples: &[f32]) -> Vec<f32> {
    let tokens = 0..tokens(samples.len());
    embed(conformer, &pool(1), samples, tokens, &mut conformer.history())
}

/// The greatest difference, relative to the greatest value that is wanted.
fn distance(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let greatest = want.iter().fold(0.0, |max, x| x.abs().max(max));
    let pairs = got.iter().zip(want).map(|(a, b)| (f64::from(*a) - b).abs());
    // NaN is the farthest.
    pairs.fold(0.0, |max, x| if x <= max { max } else { x }) / greatest
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn reference(kit: &Path, name: &str) -> Vec<u32> {
    let bytes = fs::read(kit.join("reference.safetensors")).expect("reference.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = tensors.tensor(name).expect("a tensor of that name");
    tensor.data().as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

/// 16-bit samples behind a header of 44 bytes.
fn sound(kit: &Path) -> Vec<f32> {
    let file = fs::read(kit.join("audio.wav")).expect("audio.wav");
    let (samples, _) = file[44..].as_chunks();
    samples.iter().map(|&sample| f32::from(i16::from_le_bytes(sample)) / 32_768.0).collect()
}

#[test]
fn the_spectrogram_is_that_of_the_reference() {
    let Some(kit) = shared_kit("tiny-e") else { return };
    let samples = sound(&kit);
    let (want, mask) = (reference(&kit, "audio_mel"), reference(&kit, "audio_mask"));
    let mel = mel::Mel::new(128);
    assert_eq!(want.len(), 128 * mask.len());
    for (i, (want, is_real)) in want.chunks(128).zip(&mask).enumerate() {
        assert_eq!(mel::is_real(samples.len(), i), *is_real == 1, "frame {i}");
        let mut got = [f32::NAN; 128];
        mel.frame(&samples, i as isize, &mut got);
        for (got, want) in got.iter().zip(want) {
            let off = (got - f32::from_bits(*want)).abs();
            assert!(off < 1e-5, "frame {i}: {got} for {}", f32::from_bits(*want));
        }
    }
}

#[test]
fn embeddings_are_those_of_the_reference() {
    let Some(kit) = shared_kit("tiny-e") else { return };
    let samples = sound(&kit);
    let want: Vec<f64> = reference(&kit, "audio_embeddings")
        .into_iter()
        .map(|bits| f64::from(f32::from_bits(bits)))
        .collect();
    // F16 rounds weights by 2^-12 of themselves, and so do all that follow from them.
    for (format, far) in [("f32", 2e-5), ("f16", 2e-3)] {
        let source = Source::open(&kit.join(format!("mmproj-{format}.gguf"))).expect("a file");
        let gguf = source.parse().expect("a file");
        let conformer = loaded(&gguf, 128).expect("an encoder");
        let got = whole(&conformer, &samples);
        assert!(distance(&got, &want) < far, "{format}: {:e}", distance(&got, &want));
    }
}

/// Sizes that divide by nothing, one channel, one head of many, one tap.
#[test]
fn embeddings_of_every_shape_are_those_of_the_naive_encoder() {
    let shapes = [
        (SMALL, Format::F32),
        (SMALL, Format::F16),
        (ConformerShape { bins: 9, channels: [2, 5], heads: 6, taps: 3, ..SMALL }, Format::BF16),
        (ConformerShape { bins: 128, channels: [8, 4], width: 32, ..SMALL }, Format::F32),
        (ConformerShape { bins: 1, heads: 1, layers: 1, taps: 1, ..SMALL }, Format::F32),
        (ConformerShape { width: 2, ffn: 1, output: 1, layers: 3, taps: 9, ..SMALL }, Format::F32),
    ];
    let sound = Random(3).noise(20_000, 0.5);
    for (shape, format) in shapes {
        for is_bounded in [false, true] {
            let (conformer, naive) = conformer(shape, format, is_bounded);
            let want = naive.embed(&sound).concat();
            let far = distance(&whole(&conformer, &sound), &want);
            assert!(far < 1e-4, "{shape:?} {format} {is_bounded}: {far:e}");
        }
    }
}

/// From the shortest that has a token over exactly 12 tokens to more than a block, and longer than
/// the model was trained for.
#[test]
fn sounds_of_every_length_have_the_tokens_of_the_reference() {
    let (conformer, naive) = conformer(SMALL, Format::F32, true);
    let noise = Random(4).noise(480_641, 0.5);
    for samples in
        [161, 256, 257, 320, 321, 800, 801, 7840, 7841, 81_920, 100_000, 480_000, 480_641]
    {
        let sound = &noise[..samples];
        let want = naive.embed(sound);
        assert_eq!(tokens(samples), want.len(), "{samples} samples");
        let far = distance(&whole(&conformer, sound), &want.concat());
        assert!(far < 1e-4, "{samples} samples: {far:e}");
    }
    let counts = [(0, 0), (1, 0), (160, 0), (161, 1), (800, 1), (801, 2), (480_000, 750)];
    for (samples, count) in counts {
        assert_eq!(tokens(samples), count, "{samples} samples");
        assert_eq!(naive.embed(&noise[..samples]).len(), count, "{samples} samples");
    }
}

#[test]
fn silence_and_noise_beyond_all_bounds_are_heard() {
    let (conformer, naive) = conformer(SMALL, Format::F32, false);
    let square: Vec<f32> = (0..9000).map(|i| if i / 40 % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let mut half = square.clone();
    half[..4000].fill(0.0);
    let huge: Vec<f32> = square.iter().map(|x| x * f32::MAX).collect();
    for sound in [vec![0.0; 9000], square, half, huge, Random(5).noise(9000, 1e-30)] {
        let far = distance(&whole(&conformer, &sound), &naive.embed(&sound).concat());
        assert!(far < 1e-4, "{far:e}");
    }
}

/// Whatever was embedded before, the bits of a token are those that it has in the whole.
#[test]
fn blocks_and_threads_change_no_bit() {
    for format in [Format::F32, Format::F16] {
        let (conformer, _) = conformer(SMALL, format, true);
        let sound = Random(6).noise(200_000, 0.5);
        let want = bits(&whole(&conformer, &sound));
        let total = tokens(sound.len());
        let pools = [pool(1), pool(3)];
        for (step, pool) in [(1, &pools[0]), (7, &pools[1]), (16, &pools[1]), (200, &pools[0])] {
            let mut history = conformer.history();
            let mut got = Vec::new();
            for at in (0..total).step_by(step) {
                let end = (at + step).min(total);
                // As much of the sound as is there when these tokens are settled.
                let heard = &sound[..(end * SAMPLES + 1).min(sound.len())];
                assert_eq!(settled(heard.len()).max(end), end.max(heard.len() / SAMPLES));
                got.extend(embed(&conformer, pool, heard, at..end, &mut history));
            }
            assert!(bits(&got) == want, "{format} {step} at a time");
        }
        for tokens in [0..1, 1..2, 29..40, 30..31, 31..33, 100..total, 250..251, total - 1..total] {
            for mut history in [conformer.history(), {
                let mut other = conformer.history();
                embed(&conformer, &pools[0], &sound, 3..20, &mut other);
                other
            }] {
                let got = embed(&conformer, &pools[1], &sound, tokens.clone(), &mut history);
                let want = &want[tokens.start * HIDDEN..tokens.end * HIDDEN];
                assert!(bits(&got) == want, "{format} {tokens:?} alone");
            }
        }
    }
}

#[test]
fn what_is_settled_does_not_change() {
    let (conformer, _) = conformer(SMALL, Format::F32, false);
    let sound = Random(8).noise(20_000, 0.5);
    let want = bits(&whole(&conformer, &sound));
    for samples in [641, 1280, 1281, 1282, 7000, 12_801] {
        let count = settled(samples);
        let now = bits(&whole(&conformer, &sound[..samples]));
        assert!(now[..count * HIDDEN] == want[..count * HIDDEN], "{samples} samples");
        // The next one, if there is one, still has a frame to come.
        if tokens(samples) > count {
            assert!(now[..(count + 1) * HIDDEN] != want[..(count + 1) * HIDDEN], "{samples}");
        }
    }
}

/// What a block takes is what was declared. The last products have no bounds here, so that they
/// keep no copy of their input.
#[test]
fn scratch_is_what_was_declared() {
    let wide = ConformerShape { ffn: 300, ..SMALL };
    let early = ConformerShape { bins: 300, channels: [8, 2], ..SMALL };
    let late = ConformerShape { output: 400, ..SMALL };
    let copy = size_of::<f32>() * BLOCK * 400;
    for (shape, unused) in [(SMALL, 0), (wide, 0), (early, 0), (late, copy)] {
        let (conformer, _) = conformer(shape, Format::F32, true);
        let need = Conformer::need(shape);
        let mut arena = Arena::new(need).expect("memory");
        let sound = Random(9).noise((BLOCK + 3) * SAMPLES, 0.5);
        let mut out = vec![0.0; (BLOCK + 3) * HIDDEN];
        let mut history = conformer.history();
        conformer.embed(&pool(1), &sound, 0..BLOCK + 3, &mut history, &mut out, arena.frame());
        assert_eq!(arena.high_water() + unused, need.bytes(), "{shape:?}");
    }
}

#[test]
fn what_is_stopped_leaves_nothing_behind() {
    let (conformer, _) = conformer(SMALL, Format::F32, true);
    let sound = Random(10).noise(40_000, 0.5);
    let want = bits(&whole(&conformer, &sound));
    let mut pool = pool(1);
    let mut history = conformer.history();
    embed(&conformer, &pool, &sound, 0..20, &mut history);
    let cancel = Cancel::new();
    cancel.cancel();
    pool.begin(&cancel);
    embed(&conformer, &pool, &sound, 20..40, &mut history);
    pool.begin(&Cancel::new());
    for tokens in [40..50, 20..40] {
        let got = embed(&conformer, &pool, &sound, tokens.clone(), &mut history.clone());
        assert!(bits(&got) == want[tokens.start * HIDDEN..tokens.end * HIDDEN], "{tokens:?}");
    }
    // What was changed by half is begun anew.
    embed(&conformer, &pool, &sound, 0..20, &mut history);
    assert_eq!(history.begin(20, 5), 20);
    assert_eq!(history.begin(20, 5), 15);
}

/// What is said of the small encoder's file with another value of a key, or none, and with zeros of
/// another shape for a tensor, or nothing.
fn refusal(key: Option<(&str, Option<u32>)>, tensor: Option<(&str, bool)>) -> String {
    let bytes = made(SMALL, HIDDEN, Format::F32, true).to_bytes().expect("a file");
    let gguf = Gguf::parse(&bytes).expect("a file");
    let mut w = Writer::new(Endian::Little, 3);
    for (other, value) in gguf.metadata().iter() {
        w = match key {
            Some((name, new)) if name == other => match new {
                Some(new) => w.metadata(other, new),
                None => w,
            },
            _ => w.metadata(other, *value),
        };
    }
    for t in gguf.tensors() {
        w = match tensor {
            Some((name, true)) if name == t.name => {
                w.tensor(t.name, t.tensor_type, &[7, 1, 5], vec![0; 140])
            }
            Some((name, false)) if name == t.name => w,
            _ => w.tensor(t.name, t.tensor_type, &t.shape[..], t.data.to_vec()),
        };
    }
    let bytes = w.to_bytes().expect("a file");
    match loaded(&Gguf::parse(&bytes).expect("a file"), HIDDEN) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn files_without_a_part_of_the_encoder_are_refused_by_its_name() {
    for key in ["embedding_length", "feed_forward_length", "block_count", "num_mel_bins"] {
        let key = format!("clip.audio.{key}");
        let problem = refusal(Some((&key, None)), None);
        assert!(problem.contains(&key), "{problem}");
    }
    let bytes = made(SMALL, HIDDEN, Format::F32, true).to_bytes().expect("a file");
    let gguf = Gguf::parse(&bytes).expect("a file");
    for t in gguf.tensors().iter().filter(|t| !t.name.contains("put_m")) {
        let problem = refusal(None, Some((t.name, false)));
        assert!(problem.contains(t.name), "without {}: {problem}", t.name);
        let problem = refusal(None, Some((t.name, true)));
        // These say a size that others are compared with.
        let sizes = ["conv1d.0.weight", "conv1d.1.weight", "0.conv_dw", "pre_encode.out.weight"];
        let says_size = sizes.iter().any(|name| t.name.contains(name));
        let is_named = problem.contains(t.name) || problem.contains("the model's own") || says_size;
        assert!(is_named && problem != "nothing", "another {}: {problem}", t.name);
    }
    for bound in gguf.tensors().iter().filter(|t| t.name.contains("put_m")) {
        let problem = refusal(None, Some((bound.name, true)));
        assert!(problem.contains(bound.name), "another {}: {problem}", bound.name);
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let with = |key: &str, value: u32| refusal(Some((key, Some(value))), None);
    for (key, values) in [
        ("clip.audio.embedding_length", [0, 13, u32::MAX]),
        ("clip.audio.attention.head_count", [0, 5, u32::MAX]),
        ("clip.audio.feed_forward_length", [0, 70_000, u32::MAX]),
        ("clip.audio.block_count", [0, 70_000, u32::MAX]),
        ("clip.audio.num_mel_bins", [0, 70_000, u32::MAX]),
    ] {
        for value in values {
            let problem = with(key, value);
            let name = if value == 5 { "clip.audio.embedding_length" } else { key };
            assert!(problem.contains(name), "{key} {value}: {problem}");
        }
    }
    for (key, value, named) in [
        ("clip.audio.embedding_length", 14, "has shape"),
        ("clip.audio.attention.head_count", 3, "per_dim_scale"),
        ("clip.audio.feed_forward_length", 21, "ffn_up"),
        ("clip.audio.block_count", 3, "a.blk.2."),
        ("clip.audio.num_mel_bins", 50, "a.input_projection"),
    ] {
        let problem = with(key, value);
        assert!(problem.contains(named), "{key} {value}: {problem}");
    }
    let bytes = made(SMALL, HIDDEN, Format::F32, true).to_bytes().expect("a file");
    let error = loaded(&Gguf::parse(&bytes).expect("a file"), HIDDEN + 1);
    assert!(matches!(error, Err(Error::ModelFile(_))), "{error:?}");
}

/// Values of a row of the decoder.
const HIDDEN: usize = 64;
