//! Text, pictures and sound take turns in one block of scratch memory, sized beforehand.

use crate::common::shared_kit::shared_kit;
use crate::common::{self, config, kit, seeing_model};
use carat::vision::{Budget, Picture};
use carat::{Input, Model, OpenOptions, Part, Session, SessionConfig};

/// The most that was used, in the order text, sound, picture, and what was declared.
fn used(chunk: usize, context: usize, tokens: usize) -> ([usize; 3], usize) {
    let model = seeing_model("q8_0");
    let settings = SessionConfig { prefill_chunk: chunk, context, ..config() };
    let mut session = Session::new(&model, settings).expect("a session");
    session.push(Input::Tokens(&common::tokens(tokens))).expect("a push");
    let text = session.scratch().1;
    let sound = session.embed_samples(&[0.1; 640 * 70]).expect("sound");
    let sound_used = session.scratch().1;
    let budget = Budget::try_from(70).expect("a budget");
    let picture = Picture::open(kit().join("image.png"), budget).expect("a picture");
    let image = session.embed_picture(&picture).expect("a picture");
    let (declared, picture_used) = session.scratch();
    if context > 2000 {
        let parts = [Part::Medium(&sound), Part::Text("and"), Part::Medium(&image)];
        session.push(Input::Parts(&parts)).expect("a push");
        assert_eq!(session.scratch().1, picture_used, "a prompt with media takes no more");
    }
    ([text, sound_used, picture_used], declared)
}

/// A pass of 1120 tokens, as long as the largest picture, takes the most.
#[test]
fn where_text_takes_the_most_all_fit_into_its_share() {
    let (used, declared) = used(1120, 4096, 1120);
    assert_eq!(used, [declared; 3]);
}

/// In a short context a pass is so small that pictures take the most.
#[test]
fn where_pictures_take_the_most_they_decide() {
    let ([text, sound, picture], declared) = used(1, 4, 3);
    assert!(text < sound && sound < picture, "{text} {sound} {picture}");
    assert_eq!(picture, declared);
}

/// In the E series a pass may end within a picture, and the encoder needs room for all of it.
#[test]
fn a_picture_of_the_e_series_was_counted() {
    let Some(kit) = shared_kit("tiny-e") else { return };
    let projector = kit.join("mmproj-f32.gguf");
    let options = OpenOptions { projector: Some(&projector), ..Default::default() };
    let model = Model::open_with(kit.join("text-f32.gguf"), options).expect("tiny-e");
    let settings = SessionConfig { prefill_chunk: 1, context: 2048, ..config() };
    let mut session = Session::new(&model, settings).expect("a session");
    let (declared, _) = session.scratch();
    let budget = Budget::try_from(280).expect("a budget");
    let picture = Picture::open(kit.join("image.png"), budget).expect("a picture");
    session.embed_picture(&picture).expect("a picture");
    let (now, used) = session.scratch();
    assert!(now == declared && used <= declared, "{used} of {now}, {declared} were declared");
}
