//! What a projector file lets a model see and hear, and which ones lie beside a model.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use carat::projectors_beside;
use carat_gguf::{Gguf, Tensor};
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::text::shortened;

/// What a file has to do with pictures and sound.
pub(super) enum Senses {
    /// It is a projector itself: for each sense its kind, and its sizes by name.
    Projector(Vec<Sense>),
    /// It is a model that could have one; these lie beside it.
    Beside(Vec<PathBuf>),
    /// Neither.
    None,
}

pub(super) struct Sense {
    name: &'static str,
    kind: String,
    sizes: Vec<(&'static str, u64)>,
}

impl Senses {
    pub(super) fn of(gguf: &Gguf<'_>, path: &Path) -> Self {
        match gguf.metadata().opt_string("general.architecture") {
            Ok(Some("clip")) => Self::Projector(Sense::all(gguf)),
            Ok(Some("gemma4")) => Self::Beside(projectors_beside(path).unwrap_or_default()),
            _ => Self::None,
        }
    }

    pub(super) fn is_projector(&self) -> bool {
        matches!(self, Self::Projector(_))
    }

    /// The projector whose memory is counted: the one that was named, or the only one beside the
    /// model.
    pub(super) fn projector(&self, args: &InspectArgs) -> Option<PathBuf> {
        match (&args.mmproj, self) {
            (Some(named), _) => Some(named.clone()),
            (None, Self::Beside(found)) if found.len() == 1 => found.first().cloned(),
            _ => None,
        }
    }

    /// Whether a tensor is for pictures or sound.
    pub(super) fn has(tensor: &Tensor<'_>) -> bool {
        ["v.", "a.", "mm."].iter().any(|part| tensor.name.starts_with(part))
    }

    pub(super) fn show(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Projector(senses) => {
                writeln!(out, "\nProjector: what a model sees and hears with")?;
                for Sense { name, kind, sizes } in senses {
                    let sizes = sizes.iter().map(|(what, size)| format!("{what} {size}"));
                    let sizes: Vec<_> = sizes.collect();
                    writeln!(out, "  {name:8}{}: {}", shortened(kind, 32), sizes.join(", "))?;
                }
                Ok(())
            }
            Self::Beside(found) if found.is_empty() => {
                writeln!(out, "\nNo projector (mmproj*.gguf) lies beside the model: it takes text")
            }
            Self::Beside(found) => {
                writeln!(out, "\nProjector beside the model: {}", names(found).join(", "))
            }
            Self::None => Ok(()),
        }
    }

    /// `projector` and `projectors_beside` of the report for programs.
    pub(super) fn json(&self) -> (Value, Value) {
        match self {
            Self::Projector(senses) => {
                let sense = |sense: &Sense| {
                    let sizes = sense
                        .sizes
                        .iter()
                        .map(|(what, size)| (what.replace(' ', "_"), Value::from(*size)));
                    let kind = ("type".to_owned(), Value::from(sense.kind.as_str()));
                    let all: serde_json::Map<_, _> = sizes.chain([kind]).collect();
                    (sense.name.to_owned(), Value::from(all))
                };
                (senses.iter().map(sense).collect::<serde_json::Map<_, _>>().into(), Value::Null)
            }
            Self::Beside(found) => (Value::Null, json!(names(found))),
            Self::None => (Value::Null, Value::Null),
        }
    }
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

impl Sense {
    fn all(gguf: &Gguf<'_>) -> Vec<Self> {
        let side = |name: &str, axis: usize| {
            gguf.tensor(name).and_then(|tensor| tensor.shape.get(axis).copied())
        };
        let vision = [
            // A token is three by three of the patches that the key means.
            ("patch side", patch_side(gguf)),
            ("positions", side("v.position_embd.weight", 1)),
            ("embedding length", side("mm.input_projection.weight", 0)),
            // An encoder's; the unified projector has none.
            ("layers", layers(gguf)),
            ("row length", side("mm.input_projection.weight", 1)),
        ];
        let row = ("row length", side("mm.a.input_projection.weight", 1));
        let audio = match gguf.metadata().opt_string("clip.audio.projector_type") {
            Ok(Some("gemma4a")) => {
                let key = |key| gguf.metadata().uint(&format!("clip.audio.{key}")).ok();
                let (bins, layers) = (key("num_mel_bins"), key("block_count"));
                let width = key("embedding_length");
                [("mel bins", bins), ("layers", layers), ("embedding length", width), row]
            }
            _ => [("frame length", side("mm.a.input_projection.weight", 0)), row, NONE, NONE],
        };
        let sense = |name, key: &str, sizes: &[(&'static str, Option<u64>)]| {
            let metadata = gguf.metadata();
            let has = metadata.opt_boolean(&format!("clip.has_{key}_encoder"));
            matches!(has, Ok(Some(true))).then(|| {
                let kind = metadata.opt_string(&format!("clip.{key}.projector_type"));
                let kind = kind.ok().flatten().unwrap_or("of no stated type").to_owned();
                let sizes = sizes.iter().filter_map(|(what, size)| Some((*what, (*size)?)));
                Self { name, kind, sizes: sizes.collect() }
            })
        };
        let senses = [sense("vision", "vision", &vision), sense("audio", "audio", &audio)];
        senses.into_iter().flatten().collect()
    }
}

/// A size that is left out.
const NONE: (&str, Option<u64>) = ("", None);

fn patch_side(gguf: &Gguf<'_>) -> Option<u64> {
    let patches = gguf.metadata().opt_uint("clip.vision.projector.scale_factor").ok()?;
    gguf.metadata().uint("clip.vision.patch_size").ok()?.checked_mul(patches.unwrap_or(3))
}

fn layers(gguf: &Gguf<'_>) -> Option<u64> {
    let layers = gguf.metadata().opt_uint("clip.vision.block_count").ok()??;
    (layers > 0).then_some(layers)
}
