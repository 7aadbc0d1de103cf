//! The vision encoder of E2B, E4B, 26B-A4B and 31B: against the reference implementation, against
//! an encoder written for reading, and in files that are not what they should be.

mod altered;
mod common;
#[path = "common/emulated.rs"]
mod emulated;
mod seeing;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use altered::chain;
use carat::vision::{Budget, Picture};
use carat::{Error, Input, Medium, Model, Part, Session, SessionConfig};
use carat_gguf::{Endian, Gguf, OwnedValue, TensorType, Writer};
use carat_kernels::{Format, Isa};
use common::shared_kit::shared_kit;
use common::{bits, config, isa};
use emulated::emulated;
use safetensors::SafeTensors;
use seeing::{HIDDEN, Naive, Shape, made, open};

/// Reference kits, which lie beside the repository and are no part of it.
fn kits() -> Vec<PathBuf> {
    ["tiny-e", "tiny-moe"].into_iter().filter_map(shared_kit).collect()
}

/// A picture of noise that becomes a grid of so many tokens.
fn noise(columns: usize, rows: usize, budget: usize) -> Picture {
    let (width, height) = (48 * columns, 48 * rows);
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
        (state >> 24) as u8
    };
    let pixels: Vec<u8> = std::iter::repeat_with(next).take(3 * width * height).collect();
    let budget = Budget::try_from(budget).expect("a budget");
    Picture::from_rgb(width as u32, height as u32, &pixels, budget).expect("a picture")
}

fn embedded(session: &mut Session, picture: &Picture) -> Vec<f32> {
    let medium = session.embed_picture(picture).expect("a picture");
    let [image] = medium.into_embeddings().try_into().expect("one embedding");
    image.rows().to_vec()
}

fn embed(model: &Model, config: SessionConfig, picture: &Picture) -> Vec<f32> {
    embedded(&mut Session::new(model, config).expect("a session"), picture)
}

/// The largest difference, relative to the largest value.
fn distance(got: &[f32], want: &[Vec<f64>]) -> f64 {
    let want = want.concat();
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    let differences = got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).abs());
    let greatest = differences.fold(0.0, |max: f64, d| if d <= max { max } else { d }); // keeps NaN
    greatest / size
}

fn naive_rows(bytes: &[u8], picture: &Picture) -> Vec<Vec<f64>> {
    Naive::new(bytes).rows(picture, &(0..picture.tokens()).collect::<Vec<_>>())
}

/// The projector of a kit without what hears, for decoders as wide as tiny-s: some of the rows of
/// the last matrix.
fn cut(path: &Path, rows: std::ops::Range<usize>) -> Vec<u8> {
    let bytes = std::fs::read(path).expect("a projector");
    let gguf = Gguf::parse(&bytes).expect("a projector");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| !key.contains("audio")) {
        writer = writer.metadata(key, *value);
    }
    let is_heard = |name: &str| name.starts_with("a.") || name.starts_with("mm.a.");
    for t in gguf.tensors().iter().filter(|t| !is_heard(t.name)) {
        if t.name == "mm.input_projection.weight" {
            let row = t.data.len() / t.shape[1] as usize;
            let data = t.data[rows.start * row..rows.end * row].to_vec();
            writer = writer.tensor(t.name, t.tensor_type, &[t.shape[0], HIDDEN as u64], data);
        } else {
            writer = writer.tensor(t.name, t.tensor_type, &t.shape, t.data.to_vec());
        }
    }
    writer.to_bytes().expect("a file")
}

fn reference(kit: &Path, name: &str) -> Vec<Vec<f64>> {
    let bytes = std::fs::read(kit.join("reference.safetensors")).expect("reference.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = tensors.tensor(name).expect("a tensor of that name");
    let float = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().expect("four bytes")));
    let values: Vec<f64> = tensor.data().chunks_exact(4).map(float).collect();
    let width = *tensor.shape().last().expect("a shape");
    values.chunks_exact(width).map(<[f64]>::to_vec).collect()
}

/// With F16 weights the encoder is held to the naive one, which rounds them alike.
#[test]
fn embeddings_are_those_of_the_reference() {
    if emulated() || isa() == Isa::scalar() {
        return; // it takes minutes
    }
    for kit in kits() {
        let budget = Budget::try_from(70).expect("a budget");
        let picture = Picture::open(kit.join("image.png"), budget).expect("a picture");
        let want = reference(&kit, "image_embeddings");
        assert_eq!(want.len(), picture.tokens());
        for part in 0..want[0].len() / HIDDEN {
            let columns = part * HIDDEN..(part + 1) * HIDDEN;
            let want: Vec<_> = want.iter().map(|row| row[columns.clone()].to_vec()).collect();
            let bytes = cut(&kit.join("mmproj-f32.gguf"), columns.clone());
            let got = embed(&open(&bytes).expect("a model"), config(), &picture);
            let off = distance(&got, &want);
            assert!(off < 1e-5, "{} {part}: {off:e}", kit.display());
            if part > 0 {
                continue; // the naive encoder takes seconds
            }
            let naive = naive_rows(&bytes, &picture);
            let off =
                distance(&naive.concat().iter().map(|x| *x as f32).collect::<Vec<_>>(), &want);
            assert!(off < 1e-5, "naive {}: {off:e}", kit.display());
            let bytes = cut(&kit.join("mmproj-f16.gguf"), columns);
            let got = embed(&open(&bytes).expect("a model"), config(), &picture);
            let off = distance(&got, &naive_rows(&bytes, &picture));
            assert!(off < 1e-5, "f16 {}: {off:e}", kit.display());
            let off = distance(&got, &want);
            assert!(off < 1e-2, "f16 {}: {off:e}", kit.display());
        }
    }
}

/// Heads of the real encoders, heads that suit no vector, sizes that are no multiple of anything.
#[test]
fn other_shapes_are_computed_as_the_naive_encoder_does() {
    if emulated() || isa() == Isa::scalar() {
        return; // it takes minutes
    }
    let plain = Shape::default;
    let pixels = Some([[0.5, 0.4, 0.3], [0.5, 0.25, 2.0]]);
    let shapes = [
        Shape { length: 144, heads: 2, ffn: 100, standard: true, ..plain() },
        Shape { length: 128, heads: 2, bounds: true, ..plain() },
        Shape { length: 20, heads: 1, ffn: 3, layers: 3, scaled: true, ..plain() },
        Shape { length: 12, heads: 3, patch: 24, pixels, bounds: true, standard: true, ..plain() },
        Shape { length: 256, heads: 1, ffn: 40, layers: 1, patch: 12, ..plain() },
        Shape { length: 8, heads: 2, ffn: 1, layers: 1, patch: 48, positions: 70, ..plain() },
        Shape { format: Format::F16, bounds: true, ..plain() },
        Shape { length: 44, heads: 1, ffn: 50, format: Format::BF16, ..plain() },
    ];
    for (i, shape) in shapes.into_iter().enumerate() {
        let bytes = made(&shape);
        let model = open(&bytes).unwrap_or_else(|e| panic!("{shape:?}: {}", chain(&e)));
        for (columns, rows) in [(8, 8), (1, 70), (70, 1), (5, 13)].into_iter().skip(i % 4).take(1) {
            let picture = noise(columns, rows, 70);
            let (columns, rows) = (picture.columns(), picture.rows());
            let off = distance(&embed(&model, config(), &picture), &naive_rows(&bytes, &picture));
            assert!(off < 1e-4, "{shape:?} {columns} x {rows}: {off:e}");
        }
    }
}

/// The largest budget: 10080 patches in a line, and as a square.
#[test]
fn the_largest_budget_is_computed_as_the_naive_encoder_does() {
    if emulated() || isa() == Isa::scalar() {
        return; // it takes minutes
    }
    let shape =
        Shape { length: 8, heads: 2, ffn: 4, layers: 1, positions: 3360, ..Shape::default() };
    let bytes = made(&shape);
    let model = open(&bytes).expect("a model");
    for (columns, rows) in [(1120, 1), (35, 32)] {
        let picture = noise(columns, rows, 1120);
        assert_eq!(picture.tokens(), 1120);
        let got = embed(&model, config(), &picture);
        let tokens = [0, 577, 1119];
        let want = Naive::new(&bytes).rows(&picture, &tokens);
        let got: Vec<f32> =
            tokens.iter().flat_map(|t| got[t * HIDDEN..][..HIDDEN].to_vec()).collect();
        let off = distance(&got, &want);
        assert!(off < 1e-4, "{columns} x {rows}: {off:e}");
    }
}

/// The naive encoder rounds the activations of block formats alike. What is near the middle of two
/// steps goes to either.
#[test]
fn block_formats_are_near_the_naive_encoder() {
    for (format, ffn) in [(Format::Q8_0, 128), (Format::Q4_0, 96), (Format::Q8_0, 64)] {
        for bounds in [false, true] {
            let bytes = made(&Shape { format, ffn, bounds, layers: 1, ..Shape::default() });
            let picture = noise(5, 4, 70);
            let got = embed(&open(&bytes).expect("a model"), config(), &picture);
            let off = distance(&got, &naive_rows(&bytes, &picture));
            assert!(off < 0.02, "{format:?}: {off:e}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    if emulated() || isa() == Isa::scalar() {
        return; // it takes minutes
    }
    for format in [Format::F32, Format::F16, Format::Q8_0] {
        for bounds in [false, true] {
            let model =
                open(&made(&Shape { format, bounds, ..Shape::default() })).expect("a model");
            let picture = noise(9, 7, 70);
            let with =
                |threads| bits(&embed(&model, SessionConfig { threads, ..config() }, &picture));
            let one = with(1);
            for threads in [2, 3, 8] {
                assert!(with(threads) == one, "{format:?} with {threads} threads");
            }
        }
    }
}

/// A picture is seen where the prompt shows it, frames of a video are pictures, and scratch is what
/// was declared.
#[test]
fn prompts_and_videos_hold_such_pictures() {
    if emulated() || isa() == Isa::scalar() {
        return; // it takes minutes
    }
    for bounds in [true, false] {
        let shape = Shape { positions: 3360, layers: 1, bounds, ..Shape::default() };
        let model = open(&made(&shape)).expect("a model");
        for context in [100, 2048] {
            let settings = SessionConfig { context, prefill_chunk: 1, ..config() };
            let mut session = Session::new(&model, settings).expect("a session");
            // A line has the longest tables of angles.
            let picture = noise(1120, 1, if context == 100 { 70 } else { 1120 });
            let image = session.embed_picture(&picture).expect("a picture");
            let (declared, used) = session.scratch();
            assert!(used <= declared, "{used} of {declared}");
            // The longest picture, where matrices have bounds, takes all of it.
            assert!(context == 100 || used > declared * 4 / 5, "{used} of {declared}");
            assert!(context == 100 || !bounds || used == declared, "{used} of {declared}");
            session.push(Input::Parts(&[Part::Text("the"), Part::Medium(&image)])).expect("a push");
            session.logits().expect("logits");
        }
    }
    let model = open(&made(&Shape::default())).expect("a model");
    let mut session = Session::new(&model, config()).expect("a session");
    let frame = |index| carat::video::Frame { index, seconds: 1.0, picture: noise(4, 3, 70) };
    let video = carat::video::Video { frames: vec![frame(0), frame(1)], complete: true };
    let Medium::Video { frames, .. } = session.embed_video(&video, None).expect("a video") else {
        panic!("no video")
    };
    assert_eq!(frames[0].1.rows(), embedded(&mut session, &noise(4, 3, 70)));
}

/// A picture that the context has no room for is embedded all the same, as with the 12B.
#[test]
fn a_picture_longer_than_the_context_is_embedded() {
    let model = open(&made(&Shape { positions: 3360, ..Shape::default() })).expect("a model");
    let picture = noise(10, 9, 140);
    let short = embed(&model, SessionConfig { context: 16, ..config() }, &picture);
    assert_eq!(bits(&short), bits(&embed(&model, config(), &picture)));
}

#[test]
fn a_picture_that_is_cancelled_leaves_the_session_whole() {
    let shape = Shape { layers: 40, positions: 3360, ..Shape::default() };
    let model = open(&made(&shape)).expect("a model");
    let mut session =
        Session::new(&model, SessionConfig { threads: 2, ..config() }).expect("a session");
    let picture = noise(35, 32, 1120);
    let cancel = session.cancel_handle();
    let later = thread::spawn({
        let cancel = cancel.clone();
        move || {
            thread::sleep(Duration::from_millis(100));
            cancel.cancel();
            Instant::now()
        }
    });
    let result = session.embed_picture(&picture);
    let ended = Instant::now();
    let set = later.join().expect("no panic");
    assert!(matches!(result, Err(Error::Cancelled { done: 0, total: 1120 })), "{result:?}");
    assert!(ended - set < Duration::from_secs(2), "{:?}", ended - set);
    cancel.reset();
    let small = noise(3, 3, 70);
    assert_eq!(embedded(&mut session, &small), embed(&model, config(), &small));
}

/// The layers are told one by one, as shares of the tokens.
#[test]
fn progress_is_told_and_may_break_off() {
    let model = open(&made(&Shape { layers: 4, ..Shape::default() })).expect("a model");
    let mut session = Session::new(&model, config()).expect("a session");
    let picture = noise(13, 5, 70); // fills the budget with 13 x 5 tokens
    let mut told = Vec::new();
    let broken = session.embed_picture_with(&picture, &mut |progress| {
        told.push(progress.done);
        if progress.done > 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(broken, Err(Error::Cancelled { total: 65, .. })), "{broken:?}");
    let whole = session.embed_picture_with(&picture, &mut |progress| {
        assert_eq!(progress.total, 65);
        told.push(progress.done);
        ControlFlow::Continue(())
    });
    assert_eq!(told, [16, 32, 16, 32, 48, 65]);
    assert_eq!(whole.expect("a picture").into_embeddings()[0].tokens(), 65);
}

/// What is changed in a made projector.
enum Change {
    Key(&'static str, OwnedValue),
    NoKey(&'static str),
    Values(&'static str, Vec<u64>, Vec<f32>),
    NoTensor(&'static str),
}

fn changed(shape: &Shape, change: &Change) -> Vec<u8> {
    let bytes = made(shape);
    let gguf = Gguf::parse(&bytes).expect("a projector");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        match change {
            Change::Key(name, _) | Change::NoKey(name) if *name == key => {}
            _ => writer = writer.metadata(key, *value),
        }
    }
    for t in gguf.tensors() {
        match change {
            Change::Values(name, ..) | Change::NoTensor(name) if *name == t.name => {}
            _ => writer = writer.tensor(t.name, t.tensor_type, &t.shape, t.data.to_vec()),
        }
    }
    writer = match change {
        Change::Key(name, value) => writer.metadata(*name, value.clone()),
        Change::Values(name, dims, values) => {
            let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            writer.tensor(*name, TensorType::F32, dims, data)
        }
        _ => writer,
    };
    writer.to_bytes().expect("a file")
}

#[test]
fn wrong_projectors_are_refused_with_the_evidence() {
    let key = |key, value: OwnedValue| Change::Key(key, value);
    let one = |name, value| Change::Values(name, vec![1], vec![value]);
    let norm = vec![f32::INFINITY; 96];
    let cases = [
        (Change::NoKey("clip.vision.block_count"), "clip.vision.block_count"),
        (Change::NoKey("clip.vision.attention.head_count"), "attention.head_count"),
        (key("clip.vision.block_count", 0u32.into()), "block_count is 0, 1 to 4096 is wanted"),
        (key("clip.vision.block_count", 3u32.into()), "v.blk.2.ln1.weight is missing"),
        (key("clip.vision.block_count", 1u32.into()), "v.blk.1."),
        (key("clip.vision.attention.head_count", 5u32.into()), "head_count is 5"),
        (key("clip.vision.attention.head_count", 96u32.into()), "head_count is 96"),
        (key("clip.vision.attention.head_count", 6u32.into()), "v.blk.0.attn_q_norm.weight"),
        (key("clip.vision.embedding_length", 99u32.into()), "head_count is 3"),
        (key("clip.vision.embedding_length", 108u32.into()), "v.std_bias has shape 96, 108"),
        (key("clip.vision.embedding_length", u64::MAX.into()), "embedding_length is 18446744"),
        (key("clip.vision.feed_forward_length", 127u32.into()), "v.blk.0.ffn_gate.weight"),
        (key("clip.vision.patch_size", 14u32.into()), "42 pixels"),
        (key("clip.vision.projector.scale_factor", 4u32.into()), "64 pixels"),
        (key("clip.vision.projector.scale_factor", 0u32.into()), "scale_factor is 0"),
        (key("clip.vision.image_mean", vec![0.0f32; 2].into()), "clip.vision.image_mean"),
        (key("clip.vision.image_std", vec![1.0f32, 0.0, 1.0].into()), "clip.vision.image_std"),
        (key("clip.vision.image_mean", vec![f32::NAN; 3].into()), "clip.vision.image_mean"),
        (key("clip.vision.attention.layer_norm_epsilon", 0.0f32.into()), "layer_norm_epsilon"),
        (key("clip.vision.projector_type", "gemma3".into()), "\"gemma4uv\" or \"gemma4v\""),
        (Change::NoTensor("v.std_scale"), "v.std_scale is missing"),
        (Change::NoTensor("v.std_bias"), "v.std_bias is missing"),
        (Change::NoTensor("v.position_embd.weight"), "v.position_embd.weight is missing"),
        (Change::NoTensor("v.blk.1.ffn_down.weight"), "v.blk.1.ffn_down.weight is missing"),
        (Change::Values("v.blk.0.ln2.weight", vec![96], norm), "v.blk.0.ln2.weight"),
        (one("v.blk.0.ls1.weight", 1.0), "v.blk.0.ls1.weight is not part"),
        (one("v.blk.0.attn_q.bias", 1.0), "v.blk.0.attn_q.bias is not part"),
        (one("v.blk.0.attn_q.input_min", f32::NAN), "v.blk.0.attn_q.input_min is NaN"),
        (one("v.blk.0.attn_q.input_min", f32::INFINITY), "v.blk.0.attn_q.input_min is inf"),
        (one("v.blk.0.ffn_up.output_max", f32::NEG_INFINITY), "v.blk.0.ffn_up.output_max is -inf"),
        (one("v.blk.0.ffn_up.output_min", 3.0), "v.blk.0.ffn_up.output_min is 3, at most"),
        (one("mm.input_projection.output_max", f32::NAN), "mm.input_projection.output_max is NaN"),
        (
            Change::Values("v.blk.0.attn_k.input_max", vec![2], vec![1.0; 2]),
            "v.blk.0.attn_k.input_max has shape",
        ),
    ];
    let shape = Shape { bounds: true, standard: true, scaled: true, ..Shape::default() };
    for (change, expected) in &cases {
        let said = chain(&open(&changed(&shape, change)).expect_err(expected));
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// What no bound says is no bound: a fresh encoder of Hugging Face's has infinite ones.
#[test]
fn infinite_bounds_are_none() {
    let shape = Shape { layers: 1, ..Shape::default() };
    let picture = noise(3, 2, 70);
    let embed = |bytes: &[u8]| bits(&embed(&open(bytes).expect("a model"), config(), &picture));
    let plain = embed(&made(&shape));
    for (name, value) in [("input_min", f32::NEG_INFINITY), ("output_max", f32::INFINITY)] {
        let name = format!("v.blk.0.attn_v.{name}");
        let data = value.to_le_bytes().to_vec();
        let bytes = seeing::writer(&shape).tensor(name, TensorType::F32, &[1], data);
        assert_eq!(embed(&bytes.to_bytes().expect("a file")), plain);
    }
}

#[test]
fn a_picture_without_positions_is_refused() {
    let model = open(&made(&Shape { positions: 27, ..Shape::default() })).expect("a model");
    let mut session = Session::new(&model, config()).expect("a session");
    for (columns, rows, said) in [(7, 1, "66 x 9 patches"), (1, 7, "9 x 66 patches")] {
        let error = session.embed_picture(&noise(columns, rows, 70)).expect_err(said).to_string();
        assert!(error.contains(said) && error.contains("27 in each"), "{error}");
    }
    assert!(session.embed_picture(&noise(8, 8, 70)).is_ok());
}

/// A weight that is no number reaches the rows: no bound makes one of it.
#[test]
fn what_is_no_number_stays_none() {
    let shape = Shape { bounds: true, ..Shape::default() };
    let bytes = made(&shape);
    let gguf = Gguf::parse(&bytes).expect("a projector");
    for value in [f32::NAN, f32::INFINITY] {
        let mut values: Vec<f32> = vec![0.01; 96 * 96];
        values[5] = value;
        let change = Change::Values("v.blk.0.attn_v.weight", vec![96, 96], values);
        assert!(gguf.tensor("v.blk.0.attn_v.weight").is_some());
        let model = open(&changed(&shape, &change)).expect("a model");
        let rows = embed(&model, config(), &noise(3, 3, 70));
        assert!(rows.iter().all(|x| x.is_nan()), "{value}");
    }
}
