//! The committed document is the contract: its component schemas are those of the Rust types, and it
//! uses only what API Gateway understands.
//!
//! `REMIT_REFRESH=1 cargo test -p schema --test document` writes the generated block anew, and the client
//! edition.

mod client_edition;

use schema::answer::{Accepted, Error, PaymentList, PaymentStatus};
use schema::document::TEXT;
use schema::envelope::{SCHEMA_VERSION, attribute};
use schema::payment::Payment;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Line of `payment-api.yaml` after which the generated block begins.
const BEGIN: &str = "    # generated from the Rust types: begin";

/// Line of `payment-api.yaml` before which the generated block ends.
const END: &str = "    # generated from the Rust types: end";

/// Keywords that validate and that API Gateway supports (Amazon API Gateway Developer Guide,
/// "Important notes for REST APIs": the rest of draft 4 is ignored or refused).
const KEYWORDS: [&str; 11] = [
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
];

/// Keywords that say something to people only.
const ANNOTATIONS: [&str; 4] = ["$ref", "description", "example", "title"];

/// The component schemas by name.
fn components() -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<Payment>();
    generator.subschema_for::<Accepted>();
    generator.subschema_for::<Error>();
    generator.subschema_for::<PaymentStatus>();
    generator.subschema_for::<PaymentList>();
    let definitions = generator.take_definitions(true);
    definitions.into_iter().map(|(name, schema)| (name, lower(schema))).collect()
}

/// The document's text with the block between [`BEGIN`] and [`END`] generated anew.
fn refresh(document: &str) -> String {
    let (before, rest) = document.split_once(BEGIN).expect("the document keeps its begin line");
    let (_, after) = rest.split_once(END).expect("the document keeps its end line");
    let yaml = yaml_serde::to_string(&components()).expect("schemas are plain YAML");
    let block: String = yaml.lines().map(|line| format!("    {}\n", quote_date(line))).collect();
    format!("{before}{BEGIN}\n{block}{END}{after}")
}

/// Some YAML readers take a bare date for a timestamp.
fn quote_date(line: &str) -> String {
    match line.split_once(": ") {
        Some((name, date)) if date.len() == 10 && date.starts_with("20") => {
            format!("{name}: '{date}'")
        }
        _ => line.to_owned(),
    }
}

fn lower(schema: Value) -> Value {
    let Value::Object(members) = schema else { return schema };
    let members = match optional(&members) {
        Some(inner) => inner,
        None => members,
    };
    if let Some(reference) = members.get("$ref") {
        return Value::Object(Map::from_iter([("$ref".to_owned(), reference.clone())]));
    }
    members.into_iter().filter_map(lower_keyword).collect::<Map<_, _>>().into()
}

/// The schema that `Option` wraps: absent and never null, so nothing of the wrapping is kept.
fn optional(members: &Map<String, Value>) -> Option<Map<String, Value>> {
    let of = members.get("allOf").or_else(|| members.get("anyOf"))?.as_array()?;
    of.first()?.as_object().cloned()
}

fn lower_keyword((keyword, value): (String, Value)) -> Option<(String, Value)> {
    let value = match keyword.as_str() {
        "nullable" | "format" => return None,
        "properties" => {
            let Value::Object(properties) = value else { return None };
            properties
                .into_iter()
                .map(|(name, schema)| (name, lower(schema)))
                .collect::<Map<_, _>>()
                .into()
        }
        "items" => lower(value),
        "description" => Value::String(value.as_str()?.replace('\n', " ")),
        known if KEYWORDS.contains(&known) || ANNOTATIONS.contains(&known) => value,
        unknown => panic!("API Gateway does not understand the keyword {unknown}"),
    };
    Some((keyword, value))
}

/// Runs `visit` on every schema of the document, with the path that leads to it.
fn every_schema(at: &Value, path: &str, visit: &mut dyn FnMut(&str, &Map<String, Value>)) {
    let Value::Object(members) = at else { return };
    for (name, value) in members {
        let path = format!("{path}/{name}");
        match (name.as_str(), value) {
            ("schema" | "items", Value::Object(schema)) => visit(&path, schema),
            ("schemas" | "properties", Value::Object(schemas)) => {
                for (name, schema) in schemas {
                    visit(&format!("{path}/{name}"), schema.as_object().expect("a schema"));
                }
            }
            (_, _) => {}
        }
        every_schema(value, &path, visit);
    }
}

fn document() -> Value {
    yaml_serde::from_str(TEXT).expect("the document is YAML")
}

#[test]
fn the_committed_schemas_are_those_of_the_rust_types() {
    let fresh = refresh(TEXT);
    if std::env::var_os("REMIT_REFRESH").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/payment-api.yaml"), fresh).unwrap();
    } else {
        assert!(fresh == TEXT, "stale: run REMIT_REFRESH=1 cargo test -p schema --test document");
    }
}

#[test]
fn the_document_uses_only_keywords_that_api_gateway_understands() {
    let mut schemas = 0;
    every_schema(&document(), "", &mut |path, schema| {
        schemas += 1;
        for keyword in schema.keys().map(String::as_str) {
            let known = KEYWORDS.contains(&keyword) || ANNOTATIONS.contains(&keyword);
            assert!(known, "{path}: API Gateway does not understand {keyword}");
        }
    });
    assert!(schemas > 40, "only {schemas} schemas were found");
}

#[test]
fn model_names_are_alphanumeric() {
    for name in components().keys() {
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
    }
}

#[test]
fn the_request_template_writes_exactly_the_attributes_of_the_envelope() {
    let document = document();
    let integration = &document["paths"]["/submit"]["put"]["x-amazon-apigateway-integration"];
    let template = integration["requestTemplates"]["application/json"].as_str().unwrap();
    let names: Vec<&str> = template
        .split('&')
        .filter(|pair| pair.starts_with("MessageAttribute."))
        .filter_map(|pair| pair.split_once(".Name=").map(|(_, name)| name))
        .collect();
    let envelope =
        [attribute::SUB, attribute::REQUEST_ID, attribute::ACCEPTED_AT, attribute::SCHEMA_VERSION];
    assert_eq!(names, envelope);
    // The group of the fair queue is the verified user.
    let group = "&MessageGroupId=$util.urlEncode($context.authorizer.claims.sub)&";
    assert!(template.contains(group), "{template}");
    let version = format!("&MessageAttribute.4.Value.StringValue={SCHEMA_VERSION}");
    assert!(template.contains(&version), "{template}");
}

/// A charset that clients add of their own accord makes no difference, whether content types are compared
/// whole or without their parameters. With a template and without a schema a body would pass unchecked.
#[test]
fn every_body_has_the_same_schema_and_template_in_each_spelling_of_json() {
    let spellings = [
        "application/json",
        "application/json; charset=UTF-8",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json;charset=utf-8",
    ];
    let document = document();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let writes: Vec<&Value> = operations.filter(|one| one.get("requestBody").is_some()).collect();
    assert!(!writes.is_empty());
    for operation in writes {
        let templates = &operation["x-amazon-apigateway-integration"]["requestTemplates"];
        for entries in [&operation["requestBody"]["content"], templates] {
            let entries = entries.as_object().unwrap();
            let mut names: Vec<&String> = entries.keys().collect();
            names.sort();
            assert_eq!(names, spellings, "{}", operation["operationId"]);
            for (name, entry) in entries {
                assert_eq!(*entry, entries["application/json"], "{name}");
            }
        }
    }
}

/// Nobody is told that a payment was not accepted where nobody knows: it would be paid a second time.
#[test]
fn no_server_error_claims_to_know_what_became_of_a_request() {
    let document = document();
    let submit = &document["paths"]["/submit"]["put"];
    let responses = submit["x-amazon-apigateway-integration"]["responses"].as_object().unwrap();
    let mut templates: Vec<String> =
        responses.values().map(|response| response["responseTemplates"].to_string()).collect();
    let gateway = document["x-amazon-apigateway-gateway-responses"].as_object().unwrap();
    for kind in ["DEFAULT_5XX", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT"] {
        templates.push(gateway[kind]["responseTemplates"].to_string());
    }
    assert_eq!(templates.len(), 6);
    for template in templates {
        assert!(template.contains("It is not known whether"), "{template}");
        assert!(template.contains("safe") && template.contains("paymentId"), "{template}");
    }
    assert!(!TEXT.contains("not accepted"));
}

/// API Gateway checks no parameter, the function checks them by the types' rules, and clients read these.
#[test]
fn parameters_have_the_rules_of_their_types() {
    let document = document();
    let parameter = |path: &str, name: &str| {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        parameters.iter().find(|one| one["name"] == name).unwrap()["schema"].clone()
    };
    let properties = &components()["Payment"]["properties"];
    for (path, name, property) in [
        ("/payments/{paymentId}", "paymentId", "paymentId"),
        ("/payments", "from", "requestedExecutionDate"),
        ("/payments", "to", "requestedExecutionDate"),
    ] {
        for keyword in ["type", "pattern", "minLength", "maxLength"] {
            let given = &parameter(path, name)[keyword];
            assert_eq!(*given, properties[property][keyword], "{name} {keyword}");
        }
    }
    let statuses = &components()["PaymentStatus"]["properties"]["status"]["enum"];
    assert_eq!(parameter("/payments", "status")["enum"], *statuses);
}
