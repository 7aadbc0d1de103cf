//! `tojson` as Hugging Face has it: no escapes for HTML, keys in their order.

use super::super::args::{Args, flag_or, required};
use super::super::budget::{Builder, Heap, Result, fail};
use super::super::number::place;
use super::super::print::{Json, push_json};
use super::super::text::Ch;
use super::super::value::Value;

pub(super) fn tojson(heap: &Heap, value: &Value, args: Args) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sort] = args.bind("tojson", names)?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Text(text)) => Some(text.chars().to_vec()),
        Some(width) => {
            let width = usize::try_from(place(&width)?).unwrap_or(0);
            if width > INDENT_MAX {
                return fail(format!("`tojson` indents by at most {INDENT_MAX}, found {width}"));
            }
            Some(vec![Ch::foreign(' '); width])
        }
    };
    let foreign = |text: &str| text.chars().map(Ch::foreign).collect();
    let (item, key) = match separators {
        None | Some(Value::None) => {
            (foreign(if indent.is_some() { "," } else { ", " }), foreign(": "))
        }
        Some(pair) => {
            let pair = required("tojson", Some(pair))?.iterate(heap)?;
            match &*pair.items {
                [Value::Text(item), Value::Text(key)] => {
                    (item.chars().to_vec(), key.chars().to_vec())
                }
                _ => return fail("the separators of `tojson` are two strings"),
            }
        }
    };
    let json = Json { ascii: flag_or(ascii, false), sort: flag_or(sort, false), indent, item, key };
    let mut out = Builder::new(heap);
    push_json(&mut out, value, &json)?;
    Ok(Value::Text(out.text()?))
}

/// Wider indents would only serve to fill memory.
const INDENT_MAX: usize = 1024;
