//! The fields of a JSON object, read by the types that they must have. Whatever else stands there
//! is ignored, and so is `null`.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::ApiError;

/// The fields of an object that stands at a place of the request.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// The path of the object; empty for the request itself.
    path: String,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which stands at `path`.
    pub(crate) fn of(value: &'a Value, path: impl Into<String>) -> Result<Self, ApiError> {
        let path = path.into();
        match value.as_object() {
            Some(object) => Ok(Self { object, path }),
            None => Err(wrong(&path, value, "an object")),
        }
    }

    /// The path of a field.
    pub(crate) fn at(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// A field of any type.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// A field of any type that must be there.
    pub(crate) fn need(&self, key: &str) -> Result<&'a Value, ApiError> {
        self.get(key).ok_or_else(|| {
            let at = self.at(key);
            let message = format!("{at} is missing: add it to the request");
            ApiError::invalid(at, message).with_code("missing_required_parameter")
        })
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, ApiError> {
        self.read(key, "a string", Value::as_str)
    }

    /// A text that must be there.
    pub(crate) fn need_text(&self, key: &str) -> Result<&'a str, ApiError> {
        self.need(key)?;
        Ok(self.text(key)?.unwrap_or_default())
    }

    /// True or false.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, ApiError> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A list.
    pub(crate) fn list(&self, key: &str) -> Result<Option<&'a [Value]>, ApiError> {
        self.read(key, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// An object.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, ApiError> {
        self.get(key).map(|value| Fields::of(value, self.at(key))).transpose()
    }

    /// A number within a range.
    pub(crate) fn number(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        let fits = |value: &Value| value.as_f64().filter(|number| range.contains(number));
        Ok(self.read(key, &wanted, fits)?.map(|number| number as f32))
    }

    /// A whole number within a range.
    pub(crate) fn count(
        &self,
        key: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let wanted = match *range.end() {
            usize::MAX => format!("a whole number of at least {}", range.start()),
            most => format!("a whole number from {} to {most}", range.start()),
        };
        let fits = |value: &Value| whole(value)?.try_into().ok().filter(|n| range.contains(n));
        self.read(key, &wanted, fits)
    }

    /// A field as `read` takes it.
    pub(crate) fn read<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| wrong(&self.at(key), value, wanted)),
        }
    }
}

/// A whole number; some clients write 5 as 5.0.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    let float = || value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64);
    value.as_i64().or_else(float)
}

/// The error of a field of the wrong type.
pub(crate) fn wrong(at: &str, found: &Value, wanted: &str) -> ApiError {
    let found = match found {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => scalar.to_string().chars().take(80).collect(),
    };
    let name = if at.is_empty() { "the request" } else { at };
    ApiError::invalid(at, format!("{name} is {found}, {wanted} is wanted"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_read_by_type_and_named_by_path() {
        let value = json!({ "a": "x", "n": 3, "f": 2.0, "h": 1.5, "no": null, "o": { "b": 1 } });
        let fields = Fields::of(&value, "").expect("an object");
        assert_eq!(fields.text("a").expect("a text"), Some("x"));
        assert_eq!(fields.text("no").expect("nothing"), None);
        assert_eq!(fields.count("n", 1..=5).expect("a count"), Some(3));
        assert_eq!(fields.count("f", 0..=5).expect("a count"), Some(2));
        assert_eq!(fields.number("h", 0.0..=2.0).expect("a number"), Some(1.5));
        for (error, param) in [
            (fields.text("n").err(), "n"),
            (fields.count("n", 4..=5).err(), "n"),
            (fields.count("h", 0..=5).err(), "h"),
            (fields.number("h", 0.0..=1.0).err(), "h"),
            (fields.flag("a").err(), "a"),
            (fields.need("missing").err(), "missing"),
            (fields.object("o").expect("an object").expect("it").text("b").err(), "o.b"),
        ] {
            assert_eq!(error.expect("an error").param.as_deref(), Some(param));
        }
        assert!(Fields::of(&json!([]), "").is_err());
    }
}
