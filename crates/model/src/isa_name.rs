//! Instruction sets in settings: by their names.

use carat_kernels::Isa;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(isa: &Isa, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(isa.name())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Isa, D::Error> {
    let name = String::deserialize(deserializer)?;
    Isa::by_name(&name).ok_or_else(|| {
        let names: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
        let names = names.join(", ");
        D::Error::custom(format!(
            "this machine has no instruction set {name:?}: choose one of {names}, or leave it out"
        ))
    })
}
