//! Checks a body against the document's schema, and says what is wrong without repeating a value.

use anyhow::{Context as _, Result, ensure};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::{Value, json};

/// Faults named in one answer.
const FAULTS_MAX: usize = 5;
/// An unknown property is named when its name looks like one, and it has at most this many letters.
const NAME_LENGTH_MAX: usize = 40;

/// The keywords that API Gateway's models check, and those that only describe.
const KEYWORDS: [&str; 15] = [
    "$ref",
    "type",
    "required",
    "properties",
    "additionalProperties",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "items",
    "title",
    "description",
    "example",
];

/// A compiled schema.
#[derive(Debug)]
pub(super) struct BodyValidation {
    validator: Validator,
}

impl BodyValidation {
    /// Compiles a schema that may refer to the document's `schemas`.
    ///
    /// # Errors
    /// A schema that is not valid, or that uses a keyword API Gateway ignores or refuses.
    pub(super) fn new(schema: &Value, schemas: &Value) -> Result<Self> {
        check_keywords(schema)?;
        for (name, schema) in schemas.as_object().context("the schemas are not an object")? {
            check_keywords(schema).with_context(|| format!("the schema {name}"))?;
        }
        let mut root = schema.clone();
        let root_keywords = root.as_object_mut().context("a schema is not an object")?;
        root_keywords.insert("components".to_owned(), json!({ "schemas": schemas }));
        let validator = jsonschema::options().with_draft(Draft::Draft4).build(&root);
        Ok(Self { validator: validator.context("compiling a schema")? })
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// A sentence for the client: the properties that are wrong, and which rules they break.
    pub(super) fn check(&self, body: &[u8]) -> Result<Value, String> {
        let value = serde_json::from_slice(body).map_err(|_| "body: is not JSON".to_owned())?;
        if self.validator.is_valid(&value) {
            return Ok(value);
        }
        let faults: Vec<String> =
            self.validator.iter_errors(&value).take(FAULTS_MAX).map(|e| describe(&e)).collect();
        Err(faults.join("; "))
    }
}

/// The keywords of a schema and of those inside it.
///
/// # Errors
/// A keyword that API Gateway ignores or refuses.
pub(super) fn check_keywords(schema: &Value) -> Result<()> {
    let Some(keywords) = schema.as_object() else {
        return Ok(());
    };
    for (keyword, value) in keywords {
        ensure!(KEYWORDS.contains(&keyword.as_str()), "unsupported schema keyword {keyword}");
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values().try_for_each(check_keywords)?;
            }
            ("items" | "additionalProperties", inner) => check_keywords(inner)?,
            (_, _) => {}
        }
    }
    Ok(())
}

/// `amount: does not match the pattern`.
fn describe(error: &ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let path = path.trim_start_matches('/').replace('/', ".");
    let inner = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    let whole = if path.is_empty() { "body" } else { &path };
    let named = |fault: &str| format!("{whole}: {fault}");
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of all drafts' keywords")]
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{}: is missing", inner(property.as_str().unwrap_or_default()))
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let plain = |name: &&String| {
                name.len() <= NAME_LENGTH_MAX && name.chars().all(|c| c.is_ascii_alphanumeric())
            };
            match unexpected.iter().find(plain) {
                Some(name) => format!("{}: is not a known property", inner(name)),
                None => named("has a property that is not known"),
            }
        }
        ValidationErrorKind::Type { .. } => named("has the wrong type"),
        ValidationErrorKind::Enum { .. } => named("is not one of the permitted values"),
        ValidationErrorKind::Pattern { .. } => named("does not match the pattern"),
        ValidationErrorKind::MinLength { limit } => {
            named(&format!("is shorter than {limit} characters"))
        }
        ValidationErrorKind::MaxLength { limit } => {
            named(&format!("is longer than {limit} characters"))
        }
        ValidationErrorKind::Minimum { .. } => named("is too small"),
        ValidationErrorKind::Maximum { .. } => named("is too large"),
        _ => named("breaks a rule of the schema"),
    }
}
