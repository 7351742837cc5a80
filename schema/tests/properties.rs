//! What holds for every payment, on generated ones.

#![expect(clippy::unwrap_used, reason = "a test may stop at whatever it does not expect")]

use std::sync::LazyLock;

use jsonschema::{Draft, Validator};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use schema::canonical;
use schema::envelope::{Envelope, Kind};
use schema::json::{Json, Object, parse_object};
use schema::payment::Payment;
use schema::refusal::Refusal;
use serde_json::{Map, Value, json};

/// The rules that API Gateway's subset of JSON Schema cannot express: only for these may a function
/// refuse what the gateway has accepted.
const NOT_EXPRESSIBLE: [&str; 8] = [
    // Zero.
    "must be a decimal string greater than zero, with at most 13 digits before the point and 5 \
     after it",
    "must not have more decimals than its currency",
    "must be the ISO 4217 code of a currency in circulation",
    "must be a date of the calendar, YYYY-MM-DD",
    "must not be before the day of acceptance",
    "must be an IBAN in upper case without spaces",
    "must have at least one property",
    "must have at least one item",
];

/// When every payment here was accepted: 2026-11-20T12:00:00Z.
const ACCEPTED_AT_MS: i64 = 1_795_176_000_000;

fn parse(body: &str) -> Result<Payment, Refusal> {
    Payment::parse(body, ACCEPTED_AT_MS)
}

static DOCUMENT: LazyLock<Validator> = LazyLock::new(|| {
    let document: Value = yaml_serde::from_str(schema::document::TEXT).unwrap();
    let mut root = json!({ "$ref": "#/components/schemas/Payment" });
    root["components"] = document["components"].clone();
    jsonschema::options().with_draft(Draft::Draft4).build(&root).unwrap()
});

/// A string that is nearly always right for its property, and sometimes anything.
fn nearly(pattern: &'static str) -> BoxedStrategy<Value> {
    prop_oneof![20 => pattern.prop_map(Value::from), 1 => anything()].boxed()
}

fn anything() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        Just(json!("")),
        Just(json!("a\u{0}b")),
        Just(json!("\u{fffd}")),
        Just(json!("\u{ffff}")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

/// An object with the given properties, each there in so many cases of a hundred.
fn object(properties: Vec<(&'static str, u32, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let property = |(name, percent, value): (&'static str, u32, BoxedStrategy<Value>)| {
        let there = (0..100u32).prop_map(move |drawn| drawn < percent);
        (there, value).prop_map(move |(there, value)| there.then(|| (name.to_owned(), value)))
    };
    let properties: Vec<_> = properties.into_iter().map(property).collect();
    properties
        .prop_map(|all| Value::Object(all.into_iter().flatten().collect::<Map<_, _>>()))
        .boxed()
}

fn account() -> BoxedStrategy<Value> {
    let schemes = ["BBAN", "IBAN", "Paym", "SortCodeAccountNumber", "PAN"];
    let scheme = prop::sample::select(schemes.to_vec())
        .prop_map(|scheme| Value::from(format!("UK.OBIE.{scheme}")));
    let iban = prop::sample::select(vec!["GB33BUKB20201555555555", "GB34BUKB20201555555555"]);
    let identification = prop_oneof![iban.prop_map(Value::from), nearly("[ -~é]{1,30}")];
    object(vec![
        ("schemeName", 99, scheme.boxed()),
        ("identification", 99, identification.boxed()),
        ("name", 50, nearly(".{1,60}")),
        ("new", 2, anything()),
    ])
}

fn remittance() -> BoxedStrategy<Value> {
    let lines = prop::collection::vec(nearly("[ -~]{1,140}"), 0..4).prop_map(Value::from);
    object(vec![
        ("unstructured", 60, lines.boxed()),
        ("reference", 60, nearly("[ -~é😀]{1,36}")),
        ("new", 2, anything()),
    ])
}

/// A document that is a payment in about half of the cases.
fn document() -> BoxedStrategy<Value> {
    let currencies = ["GBP", "EUR", "USD", "CHF", "JPY", "KWD", "CLF", "BGN", "ZZZ", "gbp"];
    let currency = prop::sample::select(currencies.to_vec()).prop_map(Value::from);
    object(vec![
        (
            "paymentId",
            99,
            nearly("[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ),
        ("userId", 99, nearly("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")),
        ("amount", 99, nearly(r"(0|[1-9][0-9]{0,12})(\.[0-9]{1,3})?")),
        ("currency", 99, currency.boxed()),
        ("description", 99, nearly("[ -~é😀\n]{1,260}")),
        ("creditorAccount", 40, account()),
        ("debtorAccount", 40, account()),
        ("endToEndIdentification", 40, nearly("[ -~é]{1,36}")),
        ("instructionIdentification", 40, nearly("[ -~]{1,35}")),
        ("remittanceInformation", 40, remittance()),
        (
            "requestedExecutionDate",
            40,
            nearly("20(2[5-9]|[3-9][0-9])-(0[1-9]|1[0-3])-(0[1-9]|[12][0-9]|3[01])"),
        ),
        ("new", 2, anything()),
    ])
}

/// A payment of the contract, which may have properties of a newer one.
fn payment() -> BoxedStrategy<Value> {
    let major = "[1-9][0-9]{0,12}";
    let fields = (any::<u64>(), major, 0..100u32, "[ -~é😀]{1,60}", anything(), any::<bool>());
    let fields = (fields, -1_000_000..1_000_000i64, any::<bool>());
    fields
        .prop_map(|((id, major, cents, text, new, has_account), number, is_new)| {
            let mut payment = json!({
                "paymentId": format!("0b9f6a1e-6c1d-4a57-9f0e-{:012x}", id >> 16),
                "userId": "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5",
                "amount": format!("{major}.{cents:02}"),
                "currency": "GBP",
                "description": text,
            });
            if has_account {
                let iban = "GB33BUKB20201555555555";
                payment["creditorAccount"] =
                    json!({ "schemeName": "UK.OBIE.IBAN", "identification": iban });
            }
            if is_new {
                payment["new"] = json!({ "any": new, "number": number });
            }
            payment
        })
        .boxed()
}

/// Writes a value in another spelling: properties in reverse order, white space, every character of a
/// string escaped, numbers with an exponent, the amount with or without its zeros.
fn respell(value: &Value, name: &str) -> String {
    match value {
        Value::Null | Value::Bool(_) => value.to_string(),
        Value::Number(number) => format!("{number}0e-1"),
        Value::String(amount) if name == "amount" => {
            let shorter = amount.strip_suffix("0").unwrap_or(amount);
            format!("{:?}", shorter.strip_suffix(".0").unwrap_or(shorter))
        }
        Value::String(text) => {
            let escaped: String =
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{escaped}\"")
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| respell(item, "")).collect();
            format!("[ {} ]", items.join(" ,\n"))
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("\t{} : {}", Value::from(name.as_str()), respell(value, name))
            };
            let members: Vec<String> = members.iter().rev().map(member).collect();
            format!("{{{} }}", members.join(" ,\r\n"))
        }
    }
}

fn read(value: &Value) -> Object {
    parse_object(&value.to_string()).unwrap()
}

/// The body as `serde_json` would hold it; its numbers are within what `f64` and `i64` keep.
fn written(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => serde_json::from_str(number.as_str()).unwrap(),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(written).collect()),
        Json::Object(members) => written_object(members),
    }
}

fn written_object(object: &Object) -> Value {
    Value::Object(object.iter().map(|(name, value)| (name.clone(), written(value))).collect())
}

/// Every place in a value, by JSON pointer, and the value there.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                places(value, &format!("{at}/{name}"), found);
            }
        }
    }
}

/// Another value than the one that is given.
fn changed(value: &Value) -> Value {
    match value {
        Value::Null => json!(false),
        Value::Bool(value) => json!(!value),
        Value::Number(number) => json!(format!("{number}")),
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(items) => items.iter().cloned().chain([Value::Null]).collect(),
        Value::Object(members) => {
            let mut members = members.clone();
            members.insert("added".to_owned(), Value::Null);
            Value::Object(members)
        }
    }
}

#[test]
fn the_generated_documents_are_neither_all_right_nor_all_wrong() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut accepted, mut parsed) = (0, 0);
    for _ in 0..500 {
        let body = document().new_tree(&mut runner).unwrap().current();
        accepted += u32::from(DOCUMENT.is_valid(&body));
        parsed += u32::from(parse(&body.to_string()).is_ok());
    }
    // Of 500: payments, documents that only the function refuses, and documents that both refuse.
    assert!(parsed > 50 && accepted > parsed + 50 && accepted < 400, "{parsed} {accepted}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_gateway_and_the_function_agree_but_for_what_no_schema_can_say(body in document()) {
        let accepted = DOCUMENT.is_valid(&body);
        match parse(&body.to_string()) {
            Ok(payment) => {
                let is_newer = ["/new", "/creditorAccount/new", "/debtorAccount/new",
                    "/remittanceInformation/new"].iter().any(|at| body.pointer(at).is_some());
                prop_assert_eq!(accepted, !is_newer, "{}", body);
                prop_assert_eq!(written_object(payment.body()), body);
            }
            Err(Refusal::Invalid { field, rule }) => {
                let is_listed = NOT_EXPRESSIBLE.contains(&rule);
                prop_assert!(!accepted || is_listed, "only the function refuses {field}: {rule}");
            }
            Err(refusal) => prop_assert!(false, "{refusal:?} of {body}"),
        }
    }

    #[test]
    fn what_is_parsed_and_written_again_is_the_same_payment(body in payment()) {
        let payment = parse(&body.to_string()).unwrap();
        prop_assert_eq!(&written_object(payment.body()), &body);
        let again = parse(&written_object(payment.body()).to_string()).unwrap();
        prop_assert!(again == payment);
    }

    #[test]
    fn another_spelling_is_the_same_payment(body in payment()) {
        let respelled = respell(&body, "");
        let (one, other) = (read(&body), parse_object(&respelled).unwrap());
        prop_assert_eq!(canonical::differences(&one, &other), Vec::<String>::new());
        prop_assert!(canonical::form(&one) == canonical::form(&other));
        prop_assert!(parse(&respelled).is_ok(), "{}", respelled);
    }

    #[test]
    fn the_canonical_form_of_a_canonical_form_is_itself(body in payment()) {
        let form = canonical::form(&read(&body));
        prop_assert!(canonical::form(&form) == form);
    }

    #[test]
    fn every_other_change_is_a_difference_that_names_its_property(
        body in payment(),
        place in any::<prop::sample::Index>(),
        removes in any::<bool>(),
    ) {
        let mut all = Vec::new();
        places(&body, "", &mut all);
        let pointer = &all[place.index(all.len())];
        let mut other = body.clone();
        let at = other.pointer_mut(pointer).unwrap();
        *at = changed(at);
        if removes && let Some((parent, name)) = pointer.rsplit_once('/')
            && let Some(members) = other.pointer_mut(parent).unwrap().as_object_mut()
        {
            members.remove(name);
        }
        let differences = canonical::differences(&read(&body), &read(&other));
        prop_assert_eq!(differences.len(), 1, "{} at {}", body, pointer);
        let top = pointer.split('/').nth(1).unwrap_or("added");
        prop_assert!(differences[0].starts_with(top), "{:?} at {}", differences, pointer);
        prop_assert_eq!(canonical::differences(&read(&other), &read(&body)), differences);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn an_envelope_is_read_as_it_was_written(
        sub in prop::option::of("[!-~]{1,64}"),
        request_id in prop::option::of("[!-~]{1,64}"),
        accepted_at_ms in prop::option::of(0..i64::MAX),
        schema_version in prop::option::of(any::<u32>()),
        kind in prop::option::of("[a-o]{1,9}"),
    ) {
        let kind = kind.map_or(Kind::Payment, Kind::Unknown);
        let envelope = Envelope { sub, request_id, accepted_at_ms, schema_version, kind };
        let written = envelope.write();
        let pairs = written.iter().map(|(name, value)| (*name, value.as_str()));
        prop_assert_eq!(Envelope::read(pairs), envelope);
    }
}
