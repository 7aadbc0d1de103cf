//! The metadata of a file: keys in order, found by name, read with a type.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::reader::{Field, NAME_CHARS_MAX, Reader};
use crate::value::cut;
use crate::{Array, Error, Result, Value, limits};

/// Keys and values, borrowed from the file.
#[derive(Clone, Debug, Default)]
pub struct Metadata<'a> {
    entries: Vec<(&'a str, Value<'a>)>,
    index: HashMap<&'a str, usize>,
}

impl<'a> Metadata<'a> {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.index.get(key).map(|i| &self.entries[*i].1)
    }

    /// Whether there is a value of `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &Value<'a>)> + Clone {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads `count` entries.
    pub(crate) fn read(r: &mut Reader<'a>, count: u64) -> Result<Self> {
        // Nothing is reserved for `count`: memory grows with what is read, not with a promise.
        let (mut entries, mut starts) = (Vec::new(), Vec::new());
        let mut index = HashMap::new();
        for i in 0..count as usize {
            let at = r.at();
            let key = r.name(Field("metadata key", ""), limits::KEY_BYTES)?;
            match index.entry(key) {
                Entry::Vacant(slot) => slot.insert(i),
                Entry::Occupied(slot) => {
                    let first_at = starts[*slot.get()];
                    let key = cut(key, NAME_CHARS_MAX).0.to_owned();
                    return Err(Error::DuplicateKey { key, first_at, at });
                }
            };
            let value_type = r.value_type(Field("type of metadata key", key))?;
            let value = Value::read(r, value_type, Field("value of metadata key", key))?;
            r.check_header()?;
            entries.push((key, value));
            starts.push(at);
        }
        Ok(Self { entries, index })
    }

    fn typed<T>(
        &self,
        key: &str,
        wanted: &'static str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(*value) {
            Some(v) => Ok(Some(v)),
            None => {
                let (key, found) = (key.to_owned(), value.to_string());
                Err(Error::WrongType { key, wanted, found })
            }
        }
    }
}

macro_rules! getters {
    ($($(#[$doc:meta])+ $get:ident $opt:ident -> $type:ty, $wanted:literal, $read:expr;)+) => {
        /// Getters that want a type. Each fails with [`Error::MissingKey`] or [`Error::WrongType`];
        /// its `opt_` twin gives `None` for a missing key.
        impl<'a> Metadata<'a> {
            $(
                $(#[$doc])+
                pub fn $get(&self, key: &str) -> Result<$type> {
                    self.$opt(key)?.ok_or_else(|| Error::MissingKey { key: key.to_owned() })
                }

                $(#[$doc])+
                pub fn $opt(&self, key: &str) -> Result<Option<$type>> {
                    self.typed(key, $wanted, $read)
                }
            )+
        }
    };
}

getters! {
    /// A string.
    string opt_string -> &'a str, "a string", |v| v.as_str();
    /// An integer of any type that is not negative.
    uint opt_uint -> u64, "a non-negative integer", |v| v.as_uint();
    /// An integer of any type that an `i64` holds.
    int opt_int -> i64, "an integer", |v| v.as_int();
    /// An `f32` or an `f64`.
    float opt_float -> f64, "a float", |v| v.as_float();
    /// A boolean.
    boolean opt_boolean -> bool, "a bool", |v| v.as_bool();
    /// An array of any type.
    array opt_array -> Array<'a>, "an array", |v| v.as_array();
    /// An array of strings.
    strings opt_strings -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a>,
        "an array of strings", |v| v.as_array()?.strings();
    /// An array of integers, none negative.
    uints opt_uints -> impl ExactSizeIterator<Item = u64> + Clone + use<'a>,
        "an array of non-negative integers", |v| v.as_array()?.uints();
    /// An array of integers that `i64`s hold.
    ints opt_ints -> impl ExactSizeIterator<Item = i64> + Clone + use<'a>,
        "an array of integers", |v| v.as_array()?.ints();
    /// An array of `f32` or `f64`.
    floats opt_floats -> impl ExactSizeIterator<Item = f64> + Clone + use<'a>,
        "an array of floats", |v| v.as_array()?.floats();
    /// An array of booleans.
    bools opt_bools -> impl ExactSizeIterator<Item = bool> + Clone + use<'a>,
        "an array of bools", |v| v.as_array()?.bools();
}

/// The fewest bytes that an entry takes: length of an empty key, type, one byte of value.
pub(crate) const ENTRY_BYTES_MIN: u64 = 8 + 4 + 1;
