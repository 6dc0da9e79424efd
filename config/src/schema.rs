//! The vocabulary as a JSON Schema, made from the types that are read.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use crate::document::RawConfig;

/// JSON Schema (draft 2020-12) of a configuration file, for editors and for checks in a pipeline.
///
/// It knows keys, types and the words of enumerations; what a value means is checked on load.
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<RawConfig>()
        .to_value();
    without_null(&mut schema);
    schema
}

/// [`schema`], made once.
pub(crate) static SCHEMA: LazyLock<Value> = LazyLock::new(schema);

/// One value or a list of them.
pub(crate) fn one_or_many<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let item = T::json_schema(generator);
    json_schema!({ "anyOf": [item, { "type": "array", "items": item }] })
}

/// TOML has no null: what may be left out is a key that is not there.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if types.len() == 1 {
                    let only = types.remove(0);
                    object.insert("type".to_owned(), only);
                }
            }
            flatten_option(object);
            object.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

/// `anyOf: [T, null]` becomes `T`; the description of the key wins over that of the type.
fn flatten_option(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
    if choices.len() != 1 {
        return;
    }
    if let Value::Object(inner) = choices.remove(0) {
        object.remove("anyOf");
        for (key, value) in inner {
            object.entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk<'a>(schema: &'a Value, path: &str, seen: &mut dyn FnMut(&str, &'a Value)) {
        seen(path, schema);
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (key, inner) in properties {
                walk(inner, &format!("{path}.{key}"), seen);
            }
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
                walk(inner, path, seen);
            }
        }
        for choice in schema
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            walk(choice, path, seen);
        }
    }

    #[test]
    fn every_table_refuses_unknown_keys_and_every_key_is_described() {
        walk(&schema(), "", &mut |path, schema| {
            if schema.get("properties").is_some() {
                assert_eq!(schema["additionalProperties"], Value::Bool(false), "{path}");
                for (key, inner) in schema["properties"].as_object().unwrap() {
                    assert!(
                        inner.get("description").is_some(),
                        "{path}.{key} has no description"
                    );
                }
            }
            assert!(!schema.to_string().contains("null"), "{path}");
        });
    }

    #[test]
    fn the_schema_has_the_words_of_the_vocabulary() {
        let schema = schema();
        let mode = &schema["properties"]["listener"]["items"]["properties"]["client_cert"];
        assert_eq!(mode["properties"]["mode"]["oneOf"][2]["const"], "require");
    }
}
