//! Saved sessions that are damaged, cut or made up: the documented layout is the one that is
//! written, and no bytes do more than to be refused or to be a conversation.

use crate::common::{kit, model, push, seeing_model, tokens};
use crate::emulated::emulated;
use crate::saved::{
    self, Saved, bytes, fault, future, restored, session, settings, u32_at, u64_at,
};
use carat::{Input, KvType, Model, SavedSessionError, Session, Stop};
use proptest::prelude::*;

/// Fourteen tokens, of which two are not evaluated, and a mark after ten.
fn small(model: &Model, kv: KvType) -> Session {
    let ids = tokens(14);
    let mut session = session(model, kv);
    push(&mut session, &ids[..10]);
    session.mark(session.len()).expect("memory");
    push(&mut session, &ids[10..12]);
    session.enqueue(Input::Tokens(&ids[12..])).expect("room");
    session
}

/// A picture that is evaluated, and a sound of which only the first tokens are.
fn with_media(model: &Model) -> Session {
    use carat::audio::{Clip, LongClip};
    use carat::vision::{Budget, Picture};
    let mut session = session(model, KvType::F16);
    let budget = Budget::try_from(70).expect("a budget");
    let picture = Picture::open(kit().join("image.png"), budget).expect("a picture");
    let picture = session.embed_picture(&picture).expect("a picture");
    let clip = Clip::open(kit().join("audio.wav")).expect("a clip");
    let sound = session.embed_clip(&clip, LongClip::Split).expect("sound");
    let parts = [carat::Part::Medium(&picture), carat::Part::Medium(&sound)];
    session.enqueue(Input::Parts(&parts)).expect("room");
    let mut chunks = 0;
    let result = session.push_with(Input::Tokens(&[300]), &mut |progress| {
        chunks += 1;
        match progress.done > picture_tokens(&parts) + 10 {
            true => std::ops::ControlFlow::Break(()),
            false => std::ops::ControlFlow::Continue(()),
        }
    });
    result.expect_err("it was broken off");
    assert!(session.pending() > 0 && chunks > 1);
    session
}

fn picture_tokens(parts: &[carat::Part<'_>]) -> usize {
    match parts[0] {
        carat::Part::Medium(carat::Medium::Image(image)) => image.tokens() + 2,
        _ => unreachable!("the picture comes first"),
    }
}

/// tiny-s has two sliding layers of two heads of 32 values, whose window is 8, and a full one of a
/// head of 64, of whose keys 8 pairs turn. Rings hold 8 + 3 positions.
#[test]
fn the_layout_is_the_documented_one() {
    let model = model("q4_0");
    let session = small(&model, KvType::F32);
    let saved = Saved::parse(&bytes(&session));
    assert_eq!(&saved.header[..16], b"carat session \n\0");
    assert_eq!([saved.number(16), saved.number(20)], [1, 0]);
    assert_eq!(saved.header[24..56], *model.identity().expect("a model").bytes());
    assert_eq!(saved.header[56..88], [0; 32]);
    assert_eq!([88, 96, 104].map(|at| saved.long(at)), [14, 12, 1]);
    let numbers = [112, 116, 120, 124, 128, 132, 136, 140, 144].map(|at| saved.number(at));
    assert_eq!(numbers, [0, 1, 0, 0, 1, 64, 8, 8, 3]);
    let [layers, ids, media, cache, marks] = &saved.sections;
    let words = |bytes: &[u8]| -> Vec<u32> {
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four"))).collect()
    };
    assert_eq!(words(layers), [0, 2, 32, 0, 2, 32, 1, 1, 64]);
    assert_eq!(words(ids), tokens(14));
    assert!(media.is_empty());
    let (row, ring, full) = (64, 2 * (32 + 32), 16 + 64);
    assert_eq!(cache.len(), 4 * (row + 2 * 11 * ring + 12 * full));
    assert_eq!(marks.len(), 8 + 8 + 4 * (row + 2 * 7 * ring));
    assert_eq!([u64_at(marks, 0), u64_at(marks, 8)], [10, 1]);

    // Position 5 has the same keys and values wherever it is found, in rings that wrapped or not:
    // here from position 1 on, there from 0 on, and in the mark from 3 on.
    let mut shorter = saved::session(&model, KvType::F32);
    push(&mut shorter, &tokens(7));
    let shorter = Saved::parse(&bytes(&shorter));
    let mark = &marks[16 + 4 * row..];
    for layer in 0..2 {
        for plane in 0..4 {
            let at = |first: usize, held: usize| 128 * (held * (4 * layer + plane) + 5 - first);
            let here = &cache[4 * row..][at(1, 11)..][..128];
            assert!(here == &shorter.sections[3][4 * row..][at(0, 7)..][..128]);
            assert!(here == &mark[at(3, 7)..][..128], "{layer} {plane}");
        }
    }
    let here = &cache[4 * (row + 22 * ring)..];
    let there = &shorter.sections[3][4 * (row + 14 * ring)..];
    assert!(here[4 * 16 * 5..][..4 * 16] == there[4 * 16 * 5..][..4 * 16], "keys");
    assert!(here[4 * (16 * 12 + 64 * 5)..][..256] == there[4 * (16 * 7 + 64 * 5)..][..256]);
}

#[test]
fn media_have_the_documented_layout() {
    let model = seeing_model("q4_0");
    let session = with_media(&model);
    let saved = Saved::parse(&bytes(&session));
    let projector = model.projector_identity().expect("a projector").expect("one");
    assert_eq!(saved.header[56..88], *projector.bytes());
    assert_eq!(saved.number(112), 2);
    let media = &saved.sections[2];
    let cached = saved.long(96);
    assert_eq!([u32_at(media, 0), u32_at(media, 4)], [0, 0], "a picture that is evaluated");
    let (start, end) = (u64_at(media, 8), u64_at(media, 16));
    assert!(start < end && end < cached);
    let sound = &media[56..];
    assert_eq!([u32_at(sound, 0), u32_at(sound, 4)], [1, 1], "a sound that is not");
    let (start, end) = (u64_at(sound, 8), u64_at(sound, 16));
    assert!(start < cached && cached < end);
    assert_eq!(sound.len() as u64, 56 + (end - start) * 64 * 4);
    let ids = session.tokens();
    assert!(ids[start as usize..end as usize].iter().all(|id| *id == ids[start as usize]));
}

/// From a stream, whose end is not known, and as a file.
#[test]
fn a_session_that_is_cut_anywhere_is_refused() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let models = [model("q4_0"), seeing_model("q4_0")];
    let sessions = [small(&models[0], KvType::Q8), with_media(&models[1])];
    for (i, (model, session)) in models.iter().zip(&sessions).enumerate() {
        let settings = settings(if i == 0 { KvType::Q8 } else { KvType::F16 });
        let whole = bytes(session);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("saved");
        for cut in (0..whole.len()).step_by(if i == 0 { 1 } else { 97 }) {
            let streamed = restored(model, &whole[..cut], settings.clone());
            std::fs::write(&path, &whole[..cut]).expect("a file");
            let read = Session::restore(model, &path, settings.clone());
            for (result, path) in [(streamed, None), (read, Some(&path))] {
                match fault(result) {
                    SavedSessionError::NotASession { path: found } => {
                        assert_eq!(found.as_ref(), path);
                        assert!(cut < 16, "{cut}");
                    }
                    SavedSessionError::Cut { found, wanted, path: named } => {
                        assert_eq!((found, named.as_ref()), (cut as u64, path));
                        let is_known = cut >= 232;
                        assert!(!is_known || wanted == whole.len() as u64, "{cut}: {wanted}");
                        assert!(wanted > found, "{cut}: {wanted}");
                    }
                    other => panic!("{cut}: {other}"),
                }
            }
        }
        restored(model, &whole, settings).expect("the whole");
    }
}

/// One bit of each byte, another one every time.
#[test]
fn a_flipped_bit_anywhere_is_found_and_placed() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let whole = bytes(&small(&model, KvType::Q8));
    let mut seen = std::collections::BTreeMap::new();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let part = match fault(restored(&model, &bytes, settings(KvType::Q8))) {
            SavedSessionError::NotASession { .. } if at < 16 => "name",
            SavedSessionError::Version { .. } if (16..20).contains(&at) => "version",
            SavedSessionError::Damaged { part, .. } if at >= 20 => part,
            // The tables of layers are compared before their hash.
            SavedSessionError::OtherLayout { .. } if (232..268).contains(&at) => "layers",
            other => panic!("{at}: {other}"),
        };
        *seen.entry(part).or_insert(0) += 1;
    }
    let Saved { sections: [layers, ids, media, cache, marks], .. } = Saved::parse(&whole);
    assert_eq!(seen["name"] + seen["version"] + seen["header"], 232);
    let parts = ["layers", "tokens", "media", "keys and values", "marks"];
    for (part, section) in parts.into_iter().zip([layers, ids, media, cache, marks]) {
        assert_eq!(seen[part], section.len() + 32, "{part}");
    }
}

#[test]
fn what_the_header_says_is_honoured_or_refused() {
    let model = model("q4_0");
    let saved = Saved::parse(&bytes(&small(&model, KvType::F16)));
    let read = |saved: &Saved| restored(&model, &saved.to_bytes(), settings(KvType::F16));
    let stop =
        |why, token| read(&saved.with_number(120, why).with_number(124, token)).map(|s| s.stop());
    assert_eq!(stop(0, 0).expect("sound"), None);
    assert_eq!(stop(1, 106).expect("sound"), Some(Stop::EndOfGeneration(106)));
    assert_eq!(stop(2, 0).expect("sound"), Some(Stop::ContextFull));
    for (why, token) in [(0, 1), (1, 512), (2, 1), (3, 0)] {
        assert!(matches!(fault(stop(why, token)), SavedSessionError::Damaged { .. }), "{why}");
    }
    for version in [0, 2, u32::MAX] {
        match fault(read(&saved.with_number(16, version))) {
            SavedSessionError::Version { found, wanted: 1, .. } => assert_eq!(found, version),
            other => panic!("{version}: {other}"),
        }
    }
    let layouts = [(132, "hidden"), (136, "window"), (140, "turning pairs"), (144, "layers")];
    for (at, name) in layouts {
        match fault(read(&saved.with_number(at, 7))) {
            SavedSessionError::OtherLayout { what, found: 7, .. } => assert!(what.contains(name)),
            other => panic!("{name}: {other}"),
        }
    }
    // The type, media without a projector, marks without end, a row that is none.
    let numbers = [(20, 3), (112, 1), (112, u32::MAX), (116, 13), (116, u32::MAX), (128, 2)];
    // More cached than there are; rings that begin after the end, or too late for the window.
    let longs = [(96, 15), (96, u64::MAX), (104, 13), (104, 6), (104, u64::MAX), (88, 13)];
    let others = numbers.map(|(at, n)| saved.with_number(at, n)).into_iter();
    for (i, other) in others.chain(longs.map(|(at, n)| saved.with_long(at, n))).enumerate() {
        assert!(matches!(fault(read(&other)), SavedSessionError::Damaged { .. }), "{i}");
    }
    let huge = saved.with_long(88, u64::MAX);
    match fault(read(&huge)) {
        SavedSessionError::TooLong { tokens: u64::MAX, context: 1024, .. } => {}
        other => panic!("{other}"),
    }
}

/// Lengths of sections that are too small, too large, and larger than any memory.
#[test]
fn lengths_are_not_believed() {
    let models = [model("q4_0"), seeing_model("q4_0")];
    let sessions = [small(&models[0], KvType::F16), with_media(&models[1])];
    for (model, session) in models.iter().zip(&sessions) {
        let saved = Saved::parse(&bytes(session));
        let lengths = saved.sections.each_ref().map(|section| section.len() as u64);
        for section in 0..5 {
            for length in [0, 1, 55, lengths[section] + 1, 1 << 40, u64::MAX - 100, u64::MAX] {
                let mut lengths = lengths;
                if lengths[section] == length {
                    continue;
                }
                lengths[section] = length;
                let bytes = saved.with_lengths(lengths);
                let error = fault(restored(model, &bytes, settings(KvType::F16)));
                assert!(matches!(error, SavedSessionError::Damaged { .. }), "{error}");
            }
        }
    }
}

/// What is wrong with tokens, media and marks although the hashes are right.
#[test]
fn contents_that_cannot_be_are_refused() {
    let model = seeing_model("q4_0");
    let read = |saved: &Saved| restored(&model, &saved.to_bytes(), settings(KvType::F16));
    let put = |saved: &Saved, section: usize, at: usize, number: u64, bytes: usize| {
        let mut other = saved.clone();
        other.sections[section][at..at + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
        other
    };
    let text = Saved::parse(&bytes(&small(&model, KvType::F16)));
    let media = Saved::parse(&bytes(&with_media(&model)));
    let sound = 56;
    let (start, end) = (media.sections[2][8], media.sections[2][16]);
    let others = [
        ("a token that does not exist", put(&text, 1, 4, 512, 4)),
        ("a mark at 0", put(&text, 4, 0, 0, 8)),
        ("a mark beyond the cache", put(&text, 4, 0, 13, 8)),
        ("a mark with half a row", put(&text, 4, 8, 2, 8)),
        ("a mark without its row", put(&text, 4, 8, 0, 8)),
        ("a medium of no kind", put(&media, 2, 0, 2, 4)),
        ("a picture that is sound", put(&media, 2, 0, 1, 4)),
        ("rows where all are evaluated", put(&media, 2, 4, 1, 4)),
        ("no rows where some are not evaluated", put(&media, 2, sound + 4, 0, 4)),
        ("an empty medium", put(&media, 2, 16, start.into(), 8)),
        ("a medium that ends before it begins", put(&media, 2, 16, 0, 8)),
        ("a medium on words", put(&media, 2, 16, u64::from(end) + 1, 8)),
        ("a medium beyond the tokens", put(&media, 2, 16, 5000, 8)),
        ("a medium beyond everything", put(&media, 2, 16, u64::MAX, 8)),
        ("media that overlap", put(&media, 2, sound + 8, u64::from(end) - 1, 8)),
        ("fewer cached, with a picture half evaluated", media.with_long(96, end as u64 - 1)),
    ];
    for (what, other) in others {
        let error = fault(read(&other));
        assert!(matches!(error, SavedSessionError::Damaged { .. }), "{what}: {error}");
    }
}

/// A session made by hand: keys and values are zero, and lengths and hashes are right.
#[derive(Clone)]
struct Made {
    ids: Vec<u32>,
    cached: u64,
    oldest: u64,
    /// Kind, first position and the one after the last.
    media: Vec<(u32, u64, u64)>,
    marks: Vec<u64>,
    has_projector: bool,
}

impl Made {
    fn new(ids: Vec<u32>, cached: u64) -> Self {
        Self { ids, cached, oldest: 0, media: vec![], marks: vec![], has_projector: false }
    }

    fn with_media(ids: Vec<u32>, cached: u64, media: &[(u32, u64, u64)]) -> Self {
        Self { media: media.to_vec(), has_projector: true, ..Self::new(ids, cached) }
    }

    /// A position of a ring has two heads of 32 keys and 32 values, one of the full layer 16 keys
    /// and 64 values, two bytes each; a row has 64 values of four bytes.
    fn restore(&self, model: &Model) -> Result<Session, carat::Error> {
        let template = bytes(&session(model, KvType::F16));
        let mut saved = Saved::parse(&template)
            .with_long(88, self.ids.len() as u64)
            .with_long(96, self.cached)
            .with_long(104, self.oldest)
            .with_number(112, self.media.len() as u32)
            .with_number(116, self.marks.len() as u32);
        if self.has_projector {
            let projector = model.projector_identity().expect("its file is there").expect("one");
            saved.header[56..88].copy_from_slice(projector.bytes());
        }
        saved.sections[1] = self.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let ring = 2 * 2 * (32 + 32) * 2;
        for (kind, start, end) in &self.media {
            let is_pending = *end > self.cached;
            let rows = if is_pending { (end - start) as usize * 256 } else { 0 };
            let words = [*kind, u32::from(is_pending)].map(u32::to_le_bytes);
            let places = [*start, *end].map(u64::to_le_bytes);
            let medium = [words.as_flattened(), places.as_flattened(), &vec![0; 32 + rows]];
            saved.sections[2].extend(medium.concat());
        }
        let held = self.cached - self.oldest;
        saved.sections[3] = vec![0; held as usize * ring + self.cached as usize * (16 + 64) * 2];
        for mark in &self.marks {
            let numbers = [*mark, 0].map(u64::to_le_bytes);
            let values = vec![0; (*mark).min(7) as usize * ring];
            saved.sections[4].extend([numbers.as_flattened(), &values].concat());
        }
        restored(model, &saved.to_bytes(), settings(KvType::F16))
    }
}

/// Each rule stands alone between a session and its refusal.
#[test]
fn made_sessions_are_restored_or_refused_for_one_reason() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = seeing_model("q4_0");
    let soft = |kind| {
        let saved = Saved::parse(&bytes(&with_media(&model)));
        let first = u64_at(&saved.sections[2], 8 + 56 * kind as usize);
        u32_at(&saved.sections[1], 4 * first as usize)
    };
    let (picture, sound) = (soft(0), soft(1));
    let of = |soft, count| [vec![300], vec![soft; count], vec![301]].concat();
    let text = Made::new(tokens(20), 20);
    let marked = |marks: &[u64]| Made { marks: marks.to_vec(), ..text.clone() };
    let cases = [
        ("text", text.clone(), true),
        ("all that is cached", Made::new(tokens(15), 15), true),
        ("more cached than there is", Made::new(tokens(14), 15), false),
        ("a window", Made { oldest: 12, ..Made::new(tokens(20), 19) }, true),
        ("less than a window", Made { oldest: 13, ..Made::new(tokens(20), 19) }, false),
        ("a mark", marked(&[1]), true),
        ("a mark at 0", marked(&[0]), false),
        ("marks in order", marked(&[3, 20]), true),
        ("marks in another order", marked(&[20, 10]), false),
        ("a mark twice", marked(&[10, 10]), false),
        ("a mark beyond", marked(&[21]), false),
        ("no media and a projector", Made { has_projector: true, ..text.clone() }, false),
        ("a picture", Made::with_media(of(picture, 9), 11, &[(0, 1, 10)]), true),
        ("a picture to come", Made::with_media(of(picture, 9), 1, &[(0, 1, 10)]), true),
        ("half a picture", Made::with_media(of(picture, 9), 5, &[(0, 1, 10)]), false),
        ("half a sound", Made::with_media(of(sound, 9), 5, &[(1, 1, 10)]), true),
        ("two sounds", Made::with_media(of(sound, 9), 11, &[(1, 1, 5), (1, 5, 10)]), true),
        ("two that overlap", Made::with_media(of(sound, 9), 11, &[(1, 1, 5), (1, 4, 10)]), false),
        ("two the wrong way", Made::with_media(of(sound, 9), 11, &[(1, 5, 10), (1, 1, 5)]), false),
        ("a sound on a word", Made::with_media(of(sound, 9), 11, &[(1, 1, 11)]), false),
        ("a sound of a picture", Made::with_media(of(picture, 9), 11, &[(1, 1, 10)]), false),
        (
            "media without a projector",
            Made { has_projector: false, ..Made::with_media(of(sound, 9), 11, &[(1, 1, 10)]) },
            false,
        ),
    ];
    for (what, made, is_sound) in cases {
        match made.restore(&model) {
            Ok(mut session) => {
                assert!(is_sound, "{what}");
                session.logits().unwrap_or_else(|e| panic!("{what}: {e}"));
            }
            Err(e) => {
                assert!(!is_sound, "{what}: {e}");
                let error = fault(Err::<(), _>(e));
                assert!(matches!(error, SavedSessionError::Damaged { .. }), "{what}: {error}");
            }
        }
    }
}

/// The longest picture has 1120 tokens; more would not fit into the memory for a pass.
#[test]
fn a_picture_longer_than_any_is_refused() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = seeing_model("q4_0");
    let mut session = session(&model, KvType::F16);
    session.enqueue(Input::Tokens(&tokens(1))).expect("room");
    let text = Saved::parse(&bytes(&session));
    let media = Saved::parse(&bytes(&with_media(&model)));
    let soft = u32_at(&media.sections[1], 4 * u64_at(&media.sections[2], 8) as usize);
    let config = carat::SessionConfig { context: 4096, ..settings(KvType::F16) };
    for (length, is_possible) in [(1120, true), (1121, false)] {
        let mut long = text.with_long(88, length + 1).with_number(112, 1);
        long.header[56..88].copy_from_slice(&media.header[56..88]);
        let ids = [vec![300], vec![soft; length as usize]].concat();
        long.sections[1] = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let numbers = [1 << 32, 1, length + 1].map(u64::to_le_bytes);
        long.sections[2] = [numbers.as_flattened(), &[0; 32]].concat();
        long.sections[2].extend(vec![0; length as usize * 64 * 4]);
        let result = restored(&model, &long.to_bytes(), config.clone());
        match is_possible {
            true => drop(result.expect("the longest picture").logits().expect("logits")),
            false => assert!(matches!(fault(result), SavedSessionError::Damaged { .. })),
        }
    }
}

#[derive(Clone, Debug)]
struct Change {
    /// The header, or a section.
    part: usize,
    at: prop::sample::Index,
    /// Bytes that are taken away there, and what comes in their place.
    taken: usize,
    put: Vec<u8>,
}

fn change() -> impl Strategy<Value = Change> {
    let put = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..9),
        (0u32..600).prop_map(|n| n.to_le_bytes().to_vec()),
        (0u64..100).prop_map(|n| n.to_le_bytes().to_vec()),
    ];
    (0usize..6, any::<prop::sample::Index>(), 0usize..9, put)
        .prop_map(|(part, at, taken, put)| Change { part, at, taken, put })
}

/// Changes the parts; those of the header keep its length.
fn change_all(saved: &mut Saved, changes: &[Change]) {
    for Change { part, at, taken, put } in changes {
        let bytes = if *part == 5 { &mut saved.header } else { &mut saved.sections[*part] };
        if bytes.is_empty() {
            continue;
        }
        let len = bytes.len();
        // Numbers begin at fourths.
        let at = if *taken % 2 == 0 { at.index(len) / 4 * 4 } else { at.index(len) };
        let taken = if *part == 5 { put.len() } else { *taken };
        bytes.splice(at..(at + taken).min(len), put.iter().copied());
        if *part == 5 {
            bytes.resize(len, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 2000 }))]

    /// Sound hashes over any contents: refused, or a conversation that goes on without a panic.
    #[test]
    fn made_up_sessions_do_no_harm(
        changes in prop::collection::vec(change(), 1..4),
        with_senses in any::<bool>(),
    ) {
        static FILES: std::sync::OnceLock<(Model, [Vec<u8>; 2])> = std::sync::OnceLock::new();
        let (model, files) = FILES.get_or_init(|| {
            let model = seeing_model("q4_0");
            let files = [bytes(&small(&model, KvType::F16)), bytes(&with_media(&model))];
            (model, files)
        });
        let mut saved = Saved::parse(&files[usize::from(with_senses)]);
        change_all(&mut saved, &changes);
        if let Ok(mut session) = restored(model, &saved.to_bytes(), settings(KvType::F16)) {
            let again = bytes(&session);
            let mut other = restored(model, &again, settings(KvType::F16)).expect("what we wrote");
            let (wanted, found) = (future(&mut session), future(&mut other));
            prop_assert!(wanted == found);
        }
    }

    /// Any bytes, behind the name of the format or not.
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), named in any::<bool>()) {
        static MODEL: std::sync::OnceLock<Model> = std::sync::OnceLock::new();
        let model = MODEL.get_or_init(|| model("q4_0"));
        let name: &[u8] = if named { b"carat session \n\0\x01\0\0\0" } else { b"" };
        fault(restored(model, &[name, &bytes].concat(), settings(KvType::F16)));
    }
}
