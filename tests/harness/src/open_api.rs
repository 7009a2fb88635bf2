//! What an HTTP API says of itself, held against what it answers.

use serde_json::{Map, Value};

/// An OpenAPI description.
#[derive(Clone, Debug)]
pub struct OpenApi {
    description: Value,
}

impl OpenApi {
    /// Of this document.
    pub fn new(description: Value) -> Self {
        Self { description }
    }

    /// Whether an answer is as it is described. Paths that the description does not know must be answered with 404 and a
    /// problem, methods with 405 and one.
    ///
    /// # Errors
    /// What is not, in words.
    pub fn check(
        &self,
        method: &str,
        path: &str,
        status: u16,
        media_type: &str,
        body: &Value,
    ) -> Result<(), String> {
        let path = path.split('?').next().unwrap_or_default();
        let what = format!("{method} {path} -> {status} {media_type} {body}");
        let paths = self.description["paths"].as_object().ok_or("a description has paths")?;
        let item = paths.iter().find(|(template, _)| fits(template, path)).map(|(_, item)| item);
        let operation = item.and_then(|item| item.get(method.to_ascii_lowercase()));
        let operation = match operation {
            Some(operation) => operation,
            None => {
                let expected = if item.is_some() { 405 } else { 404 };
                let problem =
                    self.schema(&serde_json::json!({"$ref": "#/components/schemas/Problem"}), body, "");
                return match status == expected {
                    true => problem.map_err(|wrong| format!("{what}: {wrong}")),
                    false => Err(format!("{what}: the description does not know it")),
                };
            }
        };
        let response = &operation["responses"][status.to_string()];
        let content =
            response["content"].as_object().ok_or_else(|| format!("{what}: no such status is described"))?;
        let described =
            content.get(media_type).ok_or_else(|| format!("{what}: no such media type is described"))?;
        self.schema(&described["schema"], body, "").map_err(|wrong| format!("{what}: {wrong}"))
    }

    /// The part of JSON Schema that the description uses; anything else in it is an error, rather than passed over.
    fn schema(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = schema.as_object().ok_or_else(|| format!("{at}: no schema"))?;
        for keyword in schema.keys() {
            match keyword.as_str() {
                "$ref"
                | "oneOf"
                | "type"
                | "enum"
                | "properties"
                | "required"
                | "additionalProperties"
                | "items"
                | "minimum"
                | "minItems"
                | "maxItems"
                | "description" => {}
                other => return Err(format!("{at}: {other} is not checked")),
            }
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let found = self.description.pointer(reference.trim_start_matches('#'));
            return self.schema(found.ok_or_else(|| format!("{at}: {reference} leads nowhere"))?, value, at);
        }
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            let tried: Vec<Result<(), String>> =
                choices.iter().map(|choice| self.schema(choice, value, at)).collect();
            return match tried.iter().filter(|tried| tried.is_ok()).count() {
                1 => Ok(()),
                count => Err(format!("{at}: fits {count} of the choices: {tried:?}")),
            };
        }
        check_type(schema, value, at)?;
        let numbers =
            [("minItems", value.as_array().map(Vec::len)), ("maxItems", value.as_array().map(Vec::len))];
        for (keyword, length) in numbers {
            let (Some(bound), Some(length)) = (schema.get(keyword).and_then(Value::as_u64), length) else {
                continue;
            };
            let length = length as u64;
            if (keyword == "minItems" && length < bound) || (keyword == "maxItems" && length > bound) {
                return Err(format!("{at}: {length} items, {keyword} {bound}"));
            }
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            for (index, value) in values.iter().enumerate() {
                self.schema(items, value, &format!("{at}/{index}"))?;
            }
        }
        match value.as_object() {
            Some(object) => self.members(schema, object, at),
            None => Ok(()),
        }
    }

    fn members(
        &self,
        schema: &Map<String, Value>,
        object: &Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        if let Some(missing) = required.filter_map(Value::as_str).find(|name| !object.contains_key(*name)) {
            return Err(format!("{at}: {missing} is missing"));
        }
        for (name, value) in object {
            match schema.get("properties").and_then(|properties| properties.get(name)) {
                Some(schema) => self.schema(schema, value, &format!("{at}/{name}"))?,
                None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    return Err(format!("{at}: {name} is not described"));
                }
                None => {}
            }
        }
        Ok(())
    }
}

fn check_type(schema: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    let is = |name: &str| match name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => false,
    };
    let fits = match schema.get("type") {
        Some(Value::String(name)) => is(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    };
    if !fits {
        return Err(format!("{at}: {value} is not {}", schema.get("type").unwrap_or(&Value::Null)));
    }
    if let Some(values) =
        schema.get("enum").and_then(Value::as_array).filter(|values| !values.contains(value))
    {
        return Err(format!("{at}: {value} is none of {values:?}"));
    }
    match (schema.get("minimum").and_then(Value::as_i64), value.as_i64()) {
        (Some(minimum), Some(number)) if number < minimum => {
            Err(format!("{at}: {number} is below {minimum}"))
        }
        _ => Ok(()),
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let is_same =
        |(part, given): (&&str, &&str)| part == given || (part.starts_with('{') && !given.is_empty());
    template.len() == path.len() && template.iter().zip(&path).all(is_same)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_is_not_as_described_is_found() {
        let api = OpenApi::new(json!({
            "paths": {"/v1/{a}/b": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {
                "type": "object", "properties": {"n": {"type": ["integer", "null"]}, "s": {"type": "string", "enum": ["x"]}},
                "required": ["n"], "additionalProperties": false}}}}}}}},
            "components": {"schemas": {"Problem": {"type": "object"}}},
        }));
        let check = |path, status, body: Value| api.check("GET", path, status, "application/json", &body);
        assert_eq!(check("/v1/anything/b?c=d", 200, json!({"n": 1, "s": "x"})), Ok(()));
        assert_eq!(check("/v1/anything/b", 200, json!({"n": null})), Ok(()));
        assert_eq!(check("/other", 404, json!({})), Ok(()));
        for (path, status, body) in [
            ("/v1/a/b", 200, json!({})),
            ("/v1/a/b", 200, json!({"n": "1"})),
            ("/v1/a/b", 200, json!({"n": 1, "s": "y"})),
            ("/v1/a/b", 200, json!({"n": 1, "more": 2})),
            ("/v1/a/b", 201, json!({"n": 1})),
            ("/other", 200, json!({})),
        ] {
            assert!(check(path, status, body.clone()).is_err(), "{path} {status} {body}");
        }
    }
}
