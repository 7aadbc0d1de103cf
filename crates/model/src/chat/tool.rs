//! Tools that a model may call, as clients declare them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::words::{head, one_line};

/// A function that a model may call.
///
/// It is read from `{"type": "function", "function": {...}}` and from the inner object alone, and
/// written in the first form, which is the one that templates read.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Tool {
    /// What it is called by.
    pub name: String,
    /// What it does, for the model to read.
    pub description: String,
    /// The JSON Schema of its arguments, which are an object.
    pub parameters: Value,
}

/// Whether the model calls tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum ToolChoice {
    /// Text, calls, or text and then calls.
    #[default]
    Auto,
    /// Text only.
    None,
    /// One call or several, and nothing else.
    Required,
    /// One call of this tool, and nothing else.
    Named(String),
}

/// A declaration that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {found}; {wanted}")]
pub struct ToolError {
    what: &'static str,
    found: String,
    wanted: &'static str,
}

impl TryFrom<Value> for Tool {
    type Error = ToolError;

    fn try_from(value: Value) -> Result<Self, ToolError> {
        let kind = value.get("type");
        if kind.is_some_and(|kind| kind != "function") {
            return Err(wrong("the type of a tool", kind, "only \"function\" can be called"));
        }
        let mut function = match value {
            Value::Object(mut object) => object.remove("function").unwrap_or(Value::Object(object)),
            other => other,
        };
        let Some(object) = function.as_object_mut() else {
            return Err(wrong("a tool", Some(&function), "an object with a name is wanted"));
        };
        let Some(Value::String(name)) = object.remove("name") else {
            return Err(wrong("the name of a tool", function.get("name"), "a string is wanted"));
        };
        let description = match object.remove("description") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            other => {
                return Err(wrong(
                    "the description of a tool",
                    other.as_ref(),
                    "a string is wanted",
                ));
            }
        };
        let parameters = match object.remove("parameters") {
            None | Some(Value::Null) => json!({"type": "object", "properties": {}}),
            Some(schema @ Value::Object(_)) => schema,
            other => {
                return Err(wrong("parameters of a tool", other.as_ref(), "a schema is wanted"));
            }
        };
        Ok(Self { name, description, parameters })
    }
}

impl From<Tool> for Value {
    fn from(tool: Tool) -> Self {
        let Tool { name, description, parameters } = tool;
        let function = json!({"name": name, "description": description, "parameters": parameters});
        json!({"type": "function", "function": function})
    }
}

impl TryFrom<Value> for ToolChoice {
    type Error = ToolError;

    fn try_from(value: Value) -> Result<Self, ToolError> {
        let named = || {
            let object = value
                .as_object()
                .filter(|object| object.get("type").is_none_or(|t| t == "function"))?;
            let function = object.get("function").and_then(Value::as_object).unwrap_or(object);
            function.get("name")?.as_str().map(|name| Self::Named(name.to_owned()))
        };
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("none") => Ok(Self::None),
            Some("required") => Ok(Self::Required),
            _ => named().ok_or_else(|| {
                let wanted = "\"auto\", \"none\", \"required\" or a function with a name is wanted";
                wrong("tool_choice", Some(&value), wanted)
            }),
        }
    }
}

impl From<ToolChoice> for Value {
    fn from(choice: ToolChoice) -> Self {
        match choice {
            ToolChoice::Auto => "auto".into(),
            ToolChoice::None => "none".into(),
            ToolChoice::Required => "required".into(),
            ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
        }
    }
}

fn wrong(what: &'static str, found: Option<&Value>, wanted: &'static str) -> ToolError {
    let found = match found {
        None => "missing".to_owned(),
        Some(value) => match value {
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            // JSON leaves DEL and the control characters behind it as they are.
            scalar => one_line(&head(&scalar.to_string())),
        },
    };
    ToolError { what, found, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_one_tool() {
        let parameters = json!({"type": "object", "properties": {"b": {}, "a": {}}});
        let bare = json!({"name": "f", "description": "d", "parameters": parameters});
        let wrapped = json!({"type": "function", "function": bare});
        let read = |value: &Value| serde_json::from_value::<Tool>(value.clone());
        let tool = read(&bare).expect("a tool");
        assert_eq!(read(&wrapped).expect("a tool"), tool);
        assert_eq!((tool.name.as_str(), &tool.parameters), ("f", &parameters));
        assert_eq!(serde_json::to_value(&tool).expect("JSON"), wrapped);
        let least = read(&json!({"name": "g"})).expect("a tool");
        assert_eq!(least.parameters["type"], "object");
    }

    #[test]
    fn what_is_no_tool_is_named() {
        for (value, wanted) in [
            (json!([]), "a tool is a list; an object with a name is wanted"),
            (json!({}), "the name of a tool is missing; a string is wanted"),
            (
                json!({"type": "web"}),
                "the type of a tool is \"web\"; only \"function\" can be called",
            ),
            (
                json!({"type": "\u{7f}\u{9b}"}),
                "the type of a tool is \"\\u{7f}\\u{9b}\"; only \"function\" can be called",
            ),
            (
                json!({"name": "f", "parameters": 7}),
                "parameters of a tool is 7; a schema is wanted",
            ),
        ] {
            let error = Tool::try_from(value).expect_err("no tool");
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[test]
    fn choices_are_read_as_clients_write_them() {
        let named = ToolChoice::Named("f".to_owned());
        for (value, wanted) in [
            (json!("auto"), ToolChoice::Auto),
            (json!("none"), ToolChoice::None),
            (json!("required"), ToolChoice::Required),
            (json!({"type": "function", "function": {"name": "f"}}), named.clone()),
            (json!({"type": "function", "name": "f"}), named),
        ] {
            assert_eq!(ToolChoice::try_from(value), Ok(wanted));
        }
        for value in [json!("any"), json!({}), json!({"type": "x", "name": "f"}), json!(1)] {
            assert!(ToolChoice::try_from(value).is_err());
        }
    }
}
