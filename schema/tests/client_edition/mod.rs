//! The client edition of the document, `client-api.json`: what a client and its generator need of the API, made
//! from the document. Nothing in it is for API Gateway only, and it says what draft 4 cannot: formats, and
//! which properties an answer has with which status.
//!
//! `REMIT_REFRESH=1 cargo test -p schema --test document` writes it anew.

use std::collections::BTreeSet;

use schema::document::{CLIENT_TEXT, TEXT};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One kind of answer about a submission: its status, and what it has beside what all have.
struct Branch {
    status: &'static str,
    description: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    /// The words that `reason` can be.
    reasons: &'static [&'static str],
}

/// The kinds of `PaymentStatus`, one for each status.
const BRANCHES: [Branch; 5] = [
    Branch {
        status: "stored",
        description: "The payment is stored, once and for good.",
        required: &["paymentId", "payment"],
        optional: &["otherAttempts"],
        reasons: &[],
    },
    Branch {
        status: "duplicate",
        description: "Another request had stored the same payment; this submission changed nothing.",
        required: &["message"],
        optional: &["paymentId", "otherAttempts"],
        reasons: &[],
    },
    Branch {
        status: "refused",
        description: "The submission was refused and never will be stored, for the reason given.",
        required: &["reason", "message", "fields"],
        optional: &["paymentId", "otherAttempts"],
        reasons: &["malformed", "invalid", "owner_mismatch", "conflict"],
    },
    Branch {
        status: "held",
        description: "The submission could not be processed and waits for an operator; do not submit it \
                      again.",
        required: &["message"],
        optional: &["paymentId", "otherAttempts"],
        reasons: &[],
    },
    Branch {
        status: "discarded",
        description: "An operator threw the submission away, or it expired while it was held: it is not stored \
                      and will not be.",
        required: &["reason", "message"],
        optional: &["paymentId", "otherAttempts"],
        reasons: &["by_operator", "expired"],
    },
];

/// What every kind of `PaymentStatus` has.
const ALWAYS: [&str; 5] = ["status", "requestId", "bodyMd5", "acceptedAt", "decidedAt"];

/// Formats of properties and parameters, wherever they stand.
const FORMATS: [(&str, &str); 7] = [
    ("paymentId", "uuid"),
    ("userId", "uuid"),
    ("requestedExecutionDate", "date"),
    ("from", "date"),
    ("to", "date"),
    ("acceptedAt", "date-time"),
    ("decidedAt", "date-time"),
];

/// The one tag.
const TAG: &str = "payments";

/// The document's parts, in the order in which people read them.
#[derive(Serialize)]
struct Edition {
    openapi: &'static str,
    info: Value,
    servers: Value,
    tags: Value,
    #[serde(serialize_with = "in_order")]
    paths: Vec<(String, Value)>,
    components: Value,
}

fn in_order<S: serde::Serializer>(
    members: &[(String, Value)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(members.iter().map(|(name, value)| (name, value)))
}

/// The client edition of a document, as it is committed.
pub(crate) fn of(document: &Value) -> String {
    let mut info = document["info"].clone();
    info["contact"] = json!({ "name": "The operators of the deployment that you use" });
    info["license"] =
        json!({ "name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" });
    let mut paths: Vec<(String, Value)> = document["paths"]
        .as_object()
        .expect("the document has paths")
        .iter()
        .map(|(path, operations)| (path.clone(), for_clients(operations)))
        .collect();
    paths.sort_by_key(|(path, _)| TEXT.find(&format!("\n  {path}:")));
    let edition = Edition {
        openapi: "3.0.3",
        info,
        servers: json!([{
            "url": "/",
            "description": "Where this document came from; the operators of a deployment name its address.",
        }]),
        tags: json!([{ "name": TAG, "description": "Payments: submit them, see what became of them." }]),
        paths,
        components: json!({
            "securitySchemes": {
                "users": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token of the user pool. Its scopes are payments/submit and \
                                    payments/read.",
                },
            },
            "schemas": schemas(document),
        }),
    };
    serde_json::to_string_pretty(&edition).expect("the edition is plain JSON") + "\n"
}

/// A path's operations without the one that only browsers call.
fn for_clients(operations: &Value) -> Value {
    let mut operations = operations.clone();
    let members = operations.as_object_mut().expect("operations by method");
    members.remove("options");
    for operation in members.values_mut() {
        operation["tags"] = json!([TAG]);
        operation["security"] = json!([{ "users": [] }]);
        operation["responses"]["413"]["content"]["application/json"] = json!({
            "schema": { "$ref": "#/components/schemas/TooLarge" },
            "example": { "message": "Request Too Long" },
        });
        // The other spellings of JSON are for clients that add a charset of their own accord.
        let body = operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut);
        if let Some(content) = body {
            content.retain(|name, _| name == "application/json");
        }
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name").to_owned();
            add_format(&name, &mut parameter["schema"]);
        }
    }
    without_gateway(&mut operations);
    operations
}

/// Removes what is for API Gateway or for browsers.
fn without_gateway(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| {
                !name.starts_with("x-amazon-") && !name.starts_with("Access-Control-")
            });
            members.values_mut().for_each(without_gateway);
            members.retain(|name, value| name != "headers" || *value != json!({}));
        }
        Value::Array(items) => items.iter_mut().for_each(without_gateway),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn add_format(name: &str, schema: &mut Value) {
    if let Some((_, format)) = FORMATS.iter().find(|(known, _)| *known == name) {
        schema["format"] = json!(format);
    }
}

fn schemas(document: &Value) -> Value {
    let mut schemas = document["components"]["schemas"].clone();
    schemas["Accepted"]["properties"]["status"]["enum"] = json!(["accepted"]);
    schemas["Error"]["properties"]["code"]["enum"] = json!(codes(document));
    schemas["TooLarge"] = too_large(&schemas["Error"]);
    for name in ["Account", "RemittanceInformation"] {
        schemas[format!("Stored{name}")] = as_stored(&schemas[name]);
    }
    let description = schemas["StoredPayment"]["description"].clone();
    schemas["StoredPayment"] = as_stored(&schemas["Payment"]);
    schemas["StoredPayment"]["description"] = description;
    let attempt = &mut schemas["Attempt"]["properties"];
    let others = BRANCHES.iter().filter(|branch| branch.status != "stored");
    attempt["status"]["enum"] = others.map(|branch| branch.status).collect();
    attempt["reason"]["enum"] =
        BRANCHES.iter().flat_map(|branch| branch.reasons).copied().collect();
    let status = schemas["PaymentStatus"].clone();
    let reference = |branch: &Branch| format!("#/components/schemas/{}", name_of(branch));
    for branch in &BRANCHES {
        schemas[name_of(branch)] = kind(branch, &status["properties"]);
    }
    schemas["PaymentStatus"] = json!({
        "description": status["description"],
        "oneOf": BRANCHES.iter().map(|branch| json!({ "$ref": reference(branch) })).collect::<Value>(),
        "discriminator": {
            "propertyName": "status",
            "mapping": BRANCHES.iter().map(|branch| (branch.status.to_owned(), json!(reference(branch))))
                .collect::<Map<_, _>>(),
        },
    });
    for schema in schemas.as_object_mut().expect("schemas by name").values_mut() {
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            add_format(name, property);
        }
    }
    schemas
}

/// `PaymentStored` for the status `stored`.
fn name_of(branch: &Branch) -> String {
    let (first, rest) = branch.status.split_at(1);
    format!("Payment{}{rest}", first.to_uppercase())
}

/// The schema of one kind of answer, from the properties of all.
fn kind(branch: &Branch, properties: &Value) -> Value {
    let required: Vec<&str> = ALWAYS.iter().chain(branch.required).copied().collect();
    let named = required.iter().chain(branch.optional);
    let mut properties: Map<String, Value> =
        named.map(|name| ((*name).to_owned(), properties[*name].clone())).collect();
    properties["status"] = json!({ "type": "string", "enum": [branch.status] });
    if let Some(reason) = properties.get_mut("reason") {
        reason["enum"] = json!(branch.reasons);
    }
    json!({
        "type": "object",
        "description": branch.description,
        "required": required,
        "properties": properties,
    })
}

/// API Gateway's own answer to a request that is too large, of which only the message is certain.
fn too_large(error: &Value) -> Value {
    let mut schema = error.clone();
    schema["description"] = json!("The request is too large. A deployment gives the message only.");
    schema["required"] = json!(["message"]);
    schema["properties"]["code"]["enum"] = json!(["payload_too_large"]);
    schema["properties"].as_object_mut().expect("properties").remove("field");
    schema
}

/// A schema of what is sent, turned into one of what is stored. A newer version may have let in what breaks
/// today's rules, so only types and formats are left of them, and other properties may stand beside.
fn as_stored(sent: &Value) -> Value {
    let mut stored = sent.clone();
    stored["additionalProperties"] = json!(true);
    let properties = stored["properties"].as_object_mut().expect("properties");
    for property in properties.values_mut() {
        without_rules(property);
        let reference = property.get_mut("$ref");
        if let Some(Value::String(reference)) = reference {
            *reference = reference.replace("/schemas/", "/schemas/Stored");
        }
    }
    stored
}

fn without_rules(schema: &mut Value) {
    let members = schema.as_object_mut().expect("a schema");
    members
        .retain(|name, _| !["enum", "maxLength", "minLength", "pattern"].contains(&name.as_str()));
    members.get_mut("items").into_iter().for_each(without_rules);
}

/// Every error code: those in the templates of the gateway, and those in the examples of what functions
/// answer.
fn codes(document: &Value) -> BTreeSet<String> {
    match document {
        Value::Object(members) => {
            let code = members.get("code").and_then(Value::as_str).map(str::to_owned);
            members.values().flat_map(codes).chain(code).collect()
        }
        Value::Array(items) => items.iter().flat_map(codes).collect(),
        Value::String(template) => {
            let after = template.split(r#""code":""#).skip(1);
            after.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => BTreeSet::new(),
    }
}

fn edition() -> Value {
    serde_json::from_str(CLIENT_TEXT).expect("the edition is JSON")
}

/// Runs `visit` on every value of the edition.
fn every_value(at: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, at);
    match at {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| every_value(value, &format!("{path}/{name}"), visit)),
        Value::Array(items) => items.iter().for_each(|item| every_value(item, path, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_committed_edition_is_that_of_the_document() {
    let document = yaml_serde::from_str(&super::refresh(TEXT)).expect("the document is YAML");
    let fresh = of(&document);
    if std::env::var_os("REMIT_REFRESH").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/client-api.json"), fresh).unwrap();
    } else {
        assert!(
            fresh == CLIENT_TEXT,
            "stale: run REMIT_REFRESH=1 cargo test -p schema --test document"
        );
    }
}

#[test]
fn nothing_in_it_is_for_the_gateway_only() {
    for word in ["x-amazon", "Access-Control", "${", "\"options\"", "CORS"] {
        assert!(!CLIENT_TEXT.contains(word), "{word}");
    }
}

#[test]
fn every_status_has_its_kind_of_answer_and_every_property_its_place() {
    let document = super::document();
    let status = &document["components"]["schemas"]["PaymentStatus"]["properties"];
    let kinds: Vec<&str> = BRANCHES.iter().map(|branch| branch.status).collect();
    assert_eq!(json!(kinds), status["status"]["enum"]);
    let named = BRANCHES.iter().flat_map(|branch| branch.required.iter().chain(branch.optional));
    let named: BTreeSet<&str> = named.chain(&ALWAYS).copied().collect();
    let all: BTreeSet<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(named, all);
}

/// The description in the Rust type names each status that has reasons, and each reason.
#[test]
fn the_reasons_are_those_that_the_type_describes() {
    let document = super::document();
    let reason = &document["components"]["schemas"]["PaymentStatus"]["properties"]["reason"];
    let description = reason["description"].as_str().unwrap();
    let described: BTreeSet<&str> = description.split('`').skip(1).step_by(2).collect();
    let branches = BRANCHES.iter().filter(|branch| !branch.reasons.is_empty());
    let named: BTreeSet<&str> = branches
        .flat_map(|branch| branch.reasons.iter().chain([&branch.status]))
        .copied()
        .collect();
    assert_eq!(named, described);
}

#[test]
fn a_stored_payment_has_every_property_of_a_payment_and_may_have_more() {
    let schemas = &edition()["components"]["schemas"];
    for (sent, stored) in [
        ("Payment", "StoredPayment"),
        ("Account", "StoredAccount"),
        ("RemittanceInformation", "StoredRemittanceInformation"),
    ] {
        let names = |schema: &str| -> Vec<String> {
            schemas[schema]["properties"].as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(names(sent), names(stored));
        assert_eq!(schemas[sent]["additionalProperties"], false);
        assert_eq!(schemas[stored]["additionalProperties"], true);
    }
}

#[test]
fn codes_reasons_and_statuses_are_enumerated() {
    let edition = edition();
    let schemas = &edition["components"]["schemas"];
    let codes: BTreeSet<&str> = schemas["Error"]["properties"]["code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    for code in ["blocked", "internal_error", "invalid_body", "not_found", "too_many_requests"] {
        assert!(codes.contains(code), "{code} is not in {codes:?}");
    }
    every_value(&edition["components"], "", &mut |path, value| {
        let name = path.rsplit('/').next().unwrap();
        if ["code", "reason", "status"].contains(&name) && value["type"] == "string" {
            assert!(value["enum"].is_array(), "{path}");
        }
    });
}

/// Generators make helpers out of an operationId by adding to it: options, request, response, query key.
#[test]
fn operation_ids_are_unique_and_begin_no_other_name() {
    let edition = edition();
    let mut ids = Vec::new();
    every_value(&edition["paths"], "", &mut |path, value| {
        if path.ends_with("/operationId") {
            ids.push(value.as_str().unwrap().to_lowercase());
        }
    });
    assert_eq!(ids.len(), 3);
    let schemas = edition["components"]["schemas"].as_object().unwrap();
    let names: Vec<String> =
        schemas.keys().map(|name| name.to_lowercase()).chain(ids.iter().cloned()).collect();
    for id in &ids {
        let same: Vec<&String> =
            names.iter().filter(|name| name.starts_with(id.as_str())).collect();
        assert_eq!(same, [id]);
    }
}

#[test]
fn patterns_hold_no_control_character_and_no_escape_that_an_engine_lacks() {
    let mut patterns = 0;
    every_value(&edition(), "", &mut |path, value| {
        if let (true, Some(pattern)) = (path.ends_with("/pattern"), value.as_str()) {
            patterns += 1;
            assert!(pattern.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{path}: {pattern}");
            for escape in pattern.split('\\').skip(1) {
                assert!(escape.starts_with(['x', 'u', '.']), "{path}: {pattern}");
            }
        }
    });
    assert!(patterns > 10, "only {patterns} patterns were found");
}
