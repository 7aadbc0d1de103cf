//! The small model of the tests, for targets that need one: its vocabulary has the tokens of turns,
//! media and calls, and its weights are random.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use carat::{Model, OpenOptions};

/// The model with its projector.
pub(crate) fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let projector = file("tiny-s/mmproj-f32");
        let options = OpenOptions { threads: 1, projector: Some(&projector), ..Default::default() };
        Model::open_with(file("tiny-s/text-q4_0"), options).expect("the kit's model")
    })
}

/// A model file of the library's tests.
pub(crate) fn file(name: &str) -> PathBuf {
    data().join(format!("{name}.gguf"))
}

/// The files of the library's tests.
pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/model/tests/data")
}
