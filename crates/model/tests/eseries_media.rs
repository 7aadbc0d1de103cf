//! Pictures and sound in E2B and E4B: their tokens see what words would see, have the per-layer
//! embedding of the padding, and may be cut anywhere.
//!
//! The rows come from the projector of tiny-s, which has the same width: how rows are made is
//! another matter.

use std::ops::ControlFlow;
use std::path::Path;

use crate::common::{bits, config, distance, kit};
use crate::naive::{Kind, Naive, Shape, made};
use carat::vision::{Budget, Picture};
use carat::{
    Cancel, Embedding, Input, MediaPrompt, Medium, Model, OpenOptions, Part, Session,
    SessionConfig, TokenId, evaluate,
};
use carat_gguf::Gguf;

/// A small E series of tiny-s's width.
fn shape() -> Shape {
    Shape {
        hidden: 64,
        heads: 4,
        kinds: [
            Kind { kv_heads: 2, head_dim: 10, base: 1e4, pairs: 5 },
            Kind { kv_heads: 1, head_dim: 26, base: 1e6, pairs: 3 },
        ],
        ..Shape::eseries()
    }
}

/// The model as the naive pass and as the engine has it.
fn both() -> (Naive, Model) {
    let bytes = made::bytes(&shape());
    let naive = Naive::new(shape(), &Gguf::parse(&bytes).expect("a file"));
    let projector: &Path = &kit().join("mmproj-f32.gguf");
    let options = OpenOptions { projector: Some(projector), ..Default::default() };
    (naive, Model::from_bytes(bytes.leak(), options).expect("a model"))
}

fn session(model: &Model, chunk: usize) -> Session {
    let config = SessionConfig { context: 300, prefill_chunk: chunk, threads: 2, ..config() };
    Session::new(model, config).expect("a session")
}

/// A prompt with a picture of many tokens and with sound.
fn prompt(model: &Model) -> (Vec<TokenId>, Vec<Embedding>) {
    let mut session = session(model, 64);
    let pixels: Vec<u8> = (0..96 * 144 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let picture = Picture::from_rgb(96, 144, &pixels, Budget::try_from(70).expect("a budget"));
    let picture = session.embed_picture(&picture.expect("a picture")).expect("rows");
    let samples: Vec<f32> = (0..640 * 5).map(|i| ((i % 90) as f32 / 45.0 - 1.0) * 0.3).collect();
    let sound = session.embed_samples(&samples).expect("rows");
    let media: [&Medium; 2] = [&picture, &sound];
    let parts = [Part::Text("ab"), Part::from(media[0]), Part::Text("cd"), Part::from(media[1])];
    let MediaPrompt { mut ids, media } = MediaPrompt::from_parts(model, &parts).expect("a prompt");
    ids.extend([300, 301]);
    assert!(media[0].tokens() > 12 && media[1].tokens() == 5, "{}", media[0].tokens());
    (ids, media)
}

fn rows(model: &Model, chunk: usize, ids: &[TokenId], media: &[Embedding]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let each = |_: usize, row: &[f32]| rows.push(row.to_vec());
    session(model, chunk).eval_filled(ids, media, each).expect("an evaluation");
    rows
}

#[test]
fn media_are_computed_as_the_naive_pass_does() {
    let (naive, model) = both();
    let (ids, media) = prompt(&model);
    let places = MediaPrompt { ids: ids.clone(), media: media.clone() }.places(&model);
    let mut x: Vec<Vec<f64>> = ids.iter().map(|id| naive.embed(*id)).collect();
    let mut of_table = ids.clone();
    for (at, embedding) in places.expect("places").into_iter().zip(&media) {
        of_table[at.clone()].fill(0); // the padding
        for (x, row) in x[at].iter_mut().zip(embedding.rows().chunks_exact(64)) {
            *x = row.iter().map(|value| f64::from(*value)).collect();
        }
    }
    let d = distance(&naive.logits_of(x, &of_table, |_| true), &rows(&model, 64, &ids, &media));
    println!("{d:?}");
    assert!(d.top1 == 1.0 && d.kl <= 1e-7 && d.max <= 2e-3, "{d:?}");
}

#[test]
fn passes_that_cut_media_change_no_bit() {
    let (_, model) = both();
    let (ids, media) = prompt(&model);
    let want = rows(&model, 64, &ids, &media);
    for chunk in [1, 3, 8] {
        assert!(bits(&rows(&model, chunk, &ids, &media).concat()) == bits(&want.concat()));
        let mut session = session(&model, chunk);
        session.push(Input::Filled { ids: &ids, media: &media }).expect("a push");
        let last = session.logits().expect("logits");
        assert!(bits(last) == bits(&want[ids.len() - 1]), "chunks of {chunk}");
        let (declared, used) = session.scratch();
        assert!(used <= declared);
    }
}

/// A session that stands within a picture is saved, goes on, and may end there.
#[test]
fn a_session_may_stand_within_a_picture() {
    let (_, model) = both();
    let (ids, media) = prompt(&model);
    let want = rows(&model, 64, &ids, &media);
    let mut talk = session(&model, 8);
    talk.enqueue(Input::Filled { ids: &ids, media: &media }).expect("room");
    evaluate(&mut [&mut talk], &Cancel::new()).expect("a pass").remove(0).expect("numbers");
    assert_eq!(talk.pending(), ids.len() - 8, "eight tokens, the last of them in the picture");
    let mut file = Vec::new();
    talk.save_to(&mut file).expect("memory");
    let config = SessionConfig { context: 300, prefill_chunk: 5, ..config() };
    let mut restored = Session::restore_from(&model, &mut &file[..], config).expect("a session");
    for talk in [&mut talk, &mut restored] {
        let last = talk.logits().expect("logits");
        assert!(bits(last) == bits(&want[ids.len() - 1]));
    }

    let mut broken = session(&model, 8);
    let input = Input::Filled { ids: &ids, media: &media };
    assert!(broken.push_with(input, &mut |_| ControlFlow::Break(())).is_err());
    assert_eq!(broken.len(), 8);
    assert!(bits(broken.logits().expect("logits")) == bits(&want[7]));
}
