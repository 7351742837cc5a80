//! Checks a body against the document's schema, and says what is wrong as API Gateway says it.
//!
//! API Gateway checks with the Java library json-schema-validator, and puts the library's own sentences
//! into `$context.error.validationErrorString`. So the sentences here are the library's
//! (<https://github.com/java-json-tools/json-schema-validator>, `validation.properties`), and so is their
//! order (`InstanceValidator` and `ValidatorBuilder`): the first value that breaks a rule, its keywords by
//! the alphabet, then what follows it beside it and beside the values around it. What is inside another
//! value is not looked at once something is wrong. Published answers of real gateways agree, those of
//! the AWS Compute Blog among them ("How to remove boilerplate validation logic in your REST APIs with
//! Amazon API Gateway request validation"): they are cases of the tests below.
//!
//! Only a missing or an unknown property is named. Other sentences repeat the value at fault: to its
//! sender, who is the only one that sees the answer.

use std::cmp::Ordering;

use anyhow::{Context as _, Result, ensure};
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use jsonschema::{Draft, JsonType, ValidationError, Validator};
use serde_json::{Value, json};

/// What API Gateway says of a body that is not JSON, an empty one included.
const NOT_JSON: &str = "[Unknown error parsing request body]";

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
pub(crate) struct BodyValidation {
    validator: Validator,
}

impl BodyValidation {
    /// Compiles a schema that may refer to the document's `schemas`.
    ///
    /// # Errors
    /// A schema that is not valid, or that uses a keyword API Gateway ignores or refuses.
    pub(crate) fn new(schema: &Value, schemas: &Value) -> Result<Self> {
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
    /// The sentences for the client, as API Gateway joins them.
    pub(crate) fn check(&self, body: &[u8]) -> Result<Value, String> {
        let value = serde_json::from_slice(body).map_err(|_| NOT_JSON.to_owned())?;
        if self.validator.is_valid(&value) {
            return Ok(value);
        }
        Err(sentences(self.validator.iter_errors(&value).map(|error| Fault::of(&error)).collect()))
    }
}

/// The keywords of a schema and of those inside it.
///
/// # Errors
/// A keyword that API Gateway ignores or refuses.
pub(crate) fn check_keywords(schema: &Value) -> Result<()> {
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

/// A rule that a value breaks.
struct Fault {
    /// Where the value is: positions in lists, and names of properties.
    path: Vec<(usize, String)>,
    keyword: String,
    complaint: Complaint,
}

enum Complaint {
    /// The properties that are missing: one sentence names them all.
    Missing(Vec<String>),
    Sentence(String),
}

impl Fault {
    fn of(error: &ValidationError<'_>) -> Fault {
        let segment = |segment| match segment {
            LocationSegment::Property(name) => (0, name.into_owned()),
            LocationSegment::Index(index) => (index, String::new()),
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign enum of all drafts' keywords"
        )]
        let complaint = match error.kind() {
            ValidationErrorKind::Required { property } => {
                Complaint::Missing(property.as_str().map(str::to_owned).into_iter().collect())
            }
            kind => Complaint::Sentence(sentence(kind, error.instance())),
        };
        let keyword = error.kind().keyword().to_owned();
        Fault { path: error.instance_path().segments().map(segment).collect(), keyword, complaint }
    }

    fn order(&self, other: &Fault) -> Ordering {
        self.path.cmp(&other.path).then_with(|| self.keyword.cmp(&other.keyword))
    }
}

/// `[a, b]`: the faults that the library would find, in its order.
fn sentences(mut faults: Vec<Fault>) -> String {
    faults.sort_by(Fault::order);
    let first = faults.first().map(|fault| fault.path.clone()).unwrap_or_default();
    faults.retain(|fault| match fault.path.split_last() {
        None => true,
        // What contains this value contains the first one, too, and is not the first one itself.
        Some((_, around)) => {
            fault.path == first || (around.len() < first.len() && first.starts_with(around))
        }
    });
    // There is one fault for each missing property; those of one object stand side by side now.
    faults.dedup_by(|next, fault| match (&mut next.complaint, &mut fault.complaint) {
        (Complaint::Missing(more), Complaint::Missing(names)) if next.path == fault.path => {
            names.append(more);
            true
        }
        (Complaint::Missing(_) | Complaint::Sentence(_), _) => false,
    });
    let texts: Vec<String> = faults.into_iter().map(|fault| fault.complaint.text()).collect();
    format!("[{}]", texts.join(", "))
}

impl Complaint {
    fn text(self) -> String {
        match self {
            Complaint::Missing(mut names) => {
                names.sort();
                format!("object has missing required properties ({})", json!(names))
            }
            Complaint::Sentence(text) => text,
        }
    }
}

/// The library's sentence for a keyword that this value breaks.
fn sentence(kind: &ValidationErrorKind, value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let length = text.chars().count();
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of all drafts' keywords")]
    match kind {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let mut names = unexpected.clone();
            names.sort();
            let names = json!(names);
            format!("object instance has properties which are not allowed by the schema: {names}")
        }
        ValidationErrorKind::Enum { options } => {
            format!("instance value ({value}) not found in enum (possible values: {options})")
        }
        ValidationErrorKind::MaxLength { limit } => {
            format!(r#"string "{text}" is too long (length: {length}, maximum allowed: {limit})"#)
        }
        ValidationErrorKind::Maximum { limit } => format!(
            "numeric instance is greater than the required maximum (maximum: {limit}, found: {value})"
        ),
        ValidationErrorKind::MinLength { limit } => {
            format!(r#"string "{text}" is too short (length: {length}, required minimum: {limit})"#)
        }
        ValidationErrorKind::Minimum { limit } => format!(
            "numeric instance is lower than the required minimum (minimum: {limit}, found: {value})"
        ),
        ValidationErrorKind::Pattern { pattern } => {
            format!(r#"ECMA 262 regex "{pattern}" does not match input string "{text}""#)
        }
        ValidationErrorKind::Type { kind } => format!(
            "instance type ({}) does not match any allowed primitive type (allowed: {})",
            found(value),
            json!(allowed(kind)),
        ),
        other => format!("instance breaks the rule {}", other.keyword()),
    }
}

/// The type of a value; a whole number has one of its own.
fn found(value: &Value) -> JsonType {
    if value.is_i64() || value.is_u64() { JsonType::Integer } else { JsonType::from(value) }
}

/// The allowed types; where a number is allowed, so is a whole one.
fn allowed(kind: &TypeKind) -> Vec<&'static str> {
    match kind {
        TypeKind::Single(JsonType::Number) => vec!["integer", "number"],
        TypeKind::Single(one) => vec![one.as_str()],
        TypeKind::Multiple(several) => several.iter().map(JsonType::as_str).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A schema with every keyword of the document, the order and the answer of the AWS Compute Blog,
    /// and what the library answers to more bodies: a body a line, its answer indented in the next.
    const CASES: &str = include_str!("sentences.txt");

    #[test]
    fn faults_are_said_in_the_librarys_words_and_order() {
        let mut lines = CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (mut validation, mut cases) = (None, 0);
        while let Some(line) = lines.next() {
            if let Some(schema) = line.strip_prefix("schema ") {
                let schema = serde_json::from_str(schema).expect("a schema is JSON");
                validation = Some(BodyValidation::new(&schema, &json!({})).expect("a schema"));
                continue;
            }
            let expected = lines.next().expect("an answer").trim_start();
            let body = line.strip_prefix("body").expect("a body").trim_start();
            let validation = validation.as_ref().expect("a schema stands first");
            assert_eq!(validation.check(body.as_bytes()).expect_err(body), expected, "{body}");
            cases += 1;
        }
        assert!(cases > 20, "only {cases} cases were found");
    }
}
