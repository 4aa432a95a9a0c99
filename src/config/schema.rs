//! The JSON schema of the file, and the table of its keys for the documentation.

use super::model::Config;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The JSON schema (draft 2020-12) of the configuration file, for editors and checks outside.
/// `docs/modelserve.schema.json` is this text.
pub fn schema() -> String {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    without_null(&mut schema);
    // The text is the same whether serde_json keeps keys in order or sorts them.
    schema.sort_all_objects();
    format!("{schema:#}\n")
}

/// TOML has no null: a key that may be left out has the plain type of its value.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if object.get("default") == Some(&Value::Null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|t| t != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    object.insert("type".to_string(), one);
                }
            }
            unwrap_option(object);
            object.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

/// `anyOf: [x, null]` is `x`; what is said outside goes before what `x` says of itself.
fn unwrap_option(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|c| c.get("type").is_none_or(|t| t != "null"));
    if let [Value::Object(one)] = choices.as_slice() {
        let one = one.clone();
        object.remove("anyOf");
        for (key, value) in one {
            object.entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
pub(super) mod table {
    //! The table of keys in `docs/configuration.md`.

    use super::*;

    /// A line for each key, a heading for each section.
    pub(in super::super) fn reference() -> String {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let mut out = String::new();
        section(&schema, "", &mut out);
        out
    }

    /// The names of all keys but those of models.
    pub(in super::super) fn keys(schema: &Value) -> std::collections::BTreeSet<String> {
        let mut all = std::collections::BTreeSet::new();
        if let Some(properties) = schema["properties"].as_object() {
            for (key, value) in properties {
                all.insert(key.clone());
                all.append(&mut keys(value));
            }
        }
        for inner in [&schema["items"], &schema["additionalProperties"]] {
            if inner.is_object() {
                all.append(&mut keys(inner));
            }
        }
        all
    }

    fn description(schema: &Value) -> String {
        schema["description"].as_str().unwrap_or_default().replace('\n', " ")
    }

    fn section(schema: &Value, name: &str, out: &mut String) {
        let Some(properties) = schema["properties"].as_object() else {
            panic!("[{name}] has no keys");
        };
        let (mut rows, mut inner) = (String::new(), Vec::new());
        for (key, value) in properties {
            let path = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            if value["properties"].is_object() {
                let inline = key == "constant";
                if inline {
                    let keys: Vec<&str> = value["properties"]
                        .as_object()
                        .unwrap()
                        .keys()
                        .map(String::as_str)
                        .collect();
                    rows += &format!(
                        "| `{key}` | table of {} | {} |\n",
                        keys.join(", "),
                        description(value)
                    );
                }
                inner.push((format!("[{path}]"), path, value));
            } else if value["additionalProperties"]["properties"].is_object() {
                let path = format!("{path}.NAME");
                inner.push((format!("[{path}]"), path, &value["additionalProperties"]));
            } else if value["items"]["properties"].is_object() {
                inner.push((format!("[[{path}]]"), path, &value["items"]));
            } else {
                rows += &format!("| `{key}` | {} | {} |\n", kind(value), description(value));
            }
        }
        if !rows.is_empty() {
            *out += &format!("\n| key | value | meaning |\n|---|---|---|\n{rows}");
        }
        for (heading, path, value) in inner {
            *out += &format!("\n### `{heading}`\n\n{}\n", description(value));
            section(value, &path, out);
        }
    }

    fn kind(value: &Value) -> String {
        if let Some(choices) = value["enum"].as_array() {
            let names: Vec<String> = choices.iter().map(|c| format!("`{c}`")).collect();
            return names.join(", ");
        }
        if let Some(choices) = value["oneOf"].as_array() {
            let name = |c: &Value| format!("`\"{}\"`", c["const"].as_str().unwrap());
            return choices.iter().map(name).collect::<Vec<_>>().join(", ");
        }
        if let Some(choices) = value["anyOf"].as_array() {
            let text = choices[0]["pattern"].as_str().unwrap_or_default();
            return match choices[1]["type"].as_str() {
                Some("number") => "time".to_string(),
                Some("integer") => "size".to_string(),
                _ if text.contains("latest") => "policy".to_string(),
                _ => "list".to_string(),
            };
        }
        match &value["type"] {
            Value::String(name) => match name.as_str() {
                "array" if value["items"]["enum"].is_array() => {
                    format!("list of {}", kind(&value["items"]))
                }
                "array" => format!("list of {}", kind_of_items(&value["items"])),
                "object" => format!("table of {}", kind_of_items(&value["additionalProperties"])),
                "boolean" => "true, false".to_string(),
                other => other.to_string(),
            },
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
            }
            other => panic!("no type: {other} in {value}"),
        }
    }

    fn kind_of_items(items: &Value) -> String {
        format!("{}s", items["type"].as_str().unwrap())
    }
}
