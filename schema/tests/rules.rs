//! Every rule of a payment, and which of them the document can say: what it can, the gateway refuses
//! (G); the rest the function refuses on record (F).

#![expect(clippy::unwrap_used, reason = "a test may stop at whatever it does not expect")]

use std::sync::LazyLock;

use jsonschema::{Draft, Validator};
use schema::json::stored_bytes;
use schema::payment::{Payment, readable_payment_id};
use schema::refusal::Refusal;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Gateway,
    Function,
}
use By::{Function as F, Gateway as G};

const UUID: &str = "must be a lower-case UUID";
const STRING: &str = "must be a string";
const AMOUNT: &str = "must be a decimal string greater than zero, with at most 13 digits before \
                      the point and 5 after it";
const TEXT_256: &str = "must be 1 to 256 characters without control characters and without U+FFFD";
const TEXT_350: &str = "must be 1 to 350 characters without control characters and without U+FFFD";
const TEXT_140: &str = "must be 1 to 140 characters without control characters and without U+FFFD";
const TEXT_35: &str = "must be 1 to 35 characters without control characters and without U+FFFD";
const CURRENCY: &str = "must be the ISO 4217 code of a currency in circulation";
const DECIMALS: &str = "must not have more decimals than its currency";
const PASSED: &str = "must not be before the day of acceptance";
const DATE: &str = "must be a date of the calendar, YYYY-MM-DD";
const IBAN: &str = "must be an IBAN in upper case without spaces";
const SCHEME: &str = "must be one of the Open Banking schemes except UK.OBIE.PAN";

/// When every payment here was accepted: 2026-11-20T12:00:00Z, the last moment at which it is still the 19th
/// somewhere.
const ACCEPTED_AT_MS: i64 = 1_795_176_000_000 - 1;

fn parse(body: &str) -> Result<Payment, Refusal> {
    Payment::parse(body, ACCEPTED_AT_MS)
}

fn full() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/payment-v1.json")).unwrap()
}

/// A full payment with one property replaced (by a JSON pointer), or removed when `value` is `None`.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut body = full();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value.unwrap(),
        (parent, Some(value)) => parent[name] = value,
        (parent, None) => drop(parent.as_object_mut().unwrap().remove(name)),
    }
    body
}

fn document_accepts(body: &Value) -> bool {
    static DOCUMENT: LazyLock<Validator> = LazyLock::new(|| {
        let document: Value = yaml_serde::from_str(schema::document::TEXT).unwrap();
        let mut root = json!({ "$ref": "#/components/schemas/Payment" });
        root["components"] = document["components"].clone();
        jsonschema::options().with_draft(Draft::Draft4).build(&root).unwrap()
    });
    DOCUMENT.is_valid(body)
}

fn check(pointer: &str, value: Option<Value>, by: By, rule: &str) {
    let body = with(pointer, value);
    let text = body.to_string();
    let field = pointer[1..].replace("/0", "[0]").replace('/', ".");
    match parse(&text) {
        Err(Refusal::Invalid { field: at, rule: given }) => {
            assert_eq!((at.as_str(), given), (field.as_str(), rule), "{pointer}: {text}");
        }
        other => panic!("{pointer}: {text}: {other:?}"),
    }
    assert_eq!(document_accepts(&body), by == F, "{pointer}: {text}");
}

#[test]
fn every_fixture_is_a_payment() {
    for (text, known) in [
        (include_str!("../../tests/fixtures/payment-v1.json"), true),
        (include_str!("../../tests/fixtures/payment-minimal-v1.json"), true),
        (include_str!("../../tests/fixtures/payment-from-newer-gateway.json"), false),
    ] {
        let payment = parse(text).unwrap();
        let sent: Value = serde_json::from_str(text).unwrap();
        assert_eq!(payment.body().len(), sent.as_object().unwrap().len());
        assert_eq!(payment.payment_id().as_str(), sent["paymentId"]);
        assert_eq!(document_accepts(&sent), known);
    }
}

#[test]
fn each_required_property_is_required_and_named() {
    for name in ["paymentId", "userId", "amount", "currency", "description"] {
        let pointer = format!("/{name}");
        check(&pointer, None, G, "is required");
        for value in [json!(null), json!(1), json!(1.5), json!(true), json!([]), json!({})] {
            check(&pointer, Some(value), G, STRING);
        }
    }
    check("/creditorAccount/schemeName", None, G, "is required");
    check("/creditorAccount/identification", None, G, "is required");
}

#[test]
fn optional_properties_are_never_null_and_have_their_types() {
    for name in ["endToEndIdentification", "instructionIdentification", "requestedExecutionDate"] {
        check(&format!("/{name}"), Some(json!(null)), G, STRING);
        check(&format!("/{name}"), Some(json!(35)), G, STRING);
    }
    for name in ["creditorAccount", "debtorAccount", "remittanceInformation"] {
        check(&format!("/{name}"), Some(json!(null)), G, "must be an object");
        check(&format!("/{name}"), Some(json!([])), G, "must be an object");
    }
    check("/creditorAccount/name", Some(json!(null)), G, STRING);
    check("/remittanceInformation/unstructured", Some(json!("x")), G, "must be a list");
    check("/remittanceInformation/unstructured/0", Some(json!(7)), G, STRING);
}

#[test]
fn ids_are_lower_case_uuids() {
    let id = "0b9f6a1e-6c1d-4a57-9f0e-2f6d3c1b8a90";
    for name in ["/paymentId", "/userId"] {
        for text in [
            "",
            " ",
            "x",
            &id.to_uppercase(),
            &id[1..],
            &format!("{id}\n"),
            &format!("{id} "),
            &format!(" {id}"),
            &format!("{{{id}}}"),
            &id.replace('-', ""),
            &format!("{id}0"),
        ] {
            check(name, Some(json!(text)), G, UUID);
        }
    }
    for nibble in ["0", "9", "f"] {
        check("/paymentId", Some(json!(id.replace("4a57", &format!("{nibble}a57")))), G, UUID);
    }
    check("/paymentId", Some(json!(id.replace("9f0e", "cf0e"))), G, UUID);
}

#[test]
fn amounts_are_decimal_strings_greater_than_zero() {
    for text in [
        "",
        " 1",
        "1 ",
        "1\n",
        "-1",
        "+1",
        "1e3",
        "007",
        "00",
        ".5",
        "1.",
        "1,5",
        "1.123456",
        "12345678901234",
        "٣",
        "１",
        "0x10",
        "NaN",
        "1_000",
    ] {
        check("/amount", Some(json!(text)), G, AMOUNT);
    }
    for text in ["0", "0.0", "0.00", "0.00000"] {
        check("/amount", Some(json!(text)), F, AMOUNT);
    }
    check("/amount", Some(json!("1.005")), F, DECIMALS);
}

#[test]
fn amounts_have_the_decimals_of_their_currency() {
    let minor = |currency: &str, amount: &str| {
        let mut body = with("/amount", Some(json!(amount)));
        body["currency"] = json!(currency);
        parse(&body.to_string()).map(|payment| payment.amount_minor())
    };
    for (currency, amount, expected) in [
        ("GBP", "10.5", 1_050),
        ("GBP", "10.50", 1_050),
        ("GBP", "0.01", 1),
        ("JPY", "500", 500),
        ("KWD", "1.234", 1_234),
        ("KWD", "9999999999999.999", 9_999_999_999_999_999),
    ] {
        assert_eq!(minor(currency, amount).unwrap(), expected, "{currency} {amount}");
    }
    for (currency, amount) in [("JPY", "1.5"), ("JPY", "1.0"), ("GBP", "1.000"), ("KWD", "1.2345")]
    {
        let refused = minor(currency, amount).unwrap_err();
        assert_eq!(refused, Refusal::Invalid { field: "amount".to_owned(), rule: DECIMALS });
    }
}

#[test]
fn currencies_are_those_in_circulation() {
    for text in ["gbp", "GB", "GBPP", "", "£", "GBP\n"] {
        check("/currency", Some(json!(text)), G, CURRENCY);
    }
    // Unknown; test codes and metals; withdrawn; funds and units of account.
    let others = "ZZZ XXX XTS XAU XDR HRK BGN ZWL CUC ANG CLF CHE CHW UYI UYW USN MXV XAD";
    for text in others.split(' ') {
        check("/currency", Some(json!(text)), F, CURRENCY);
    }
}

#[test]
fn texts_have_bounds_and_no_control_characters() {
    for (pointer, max, rule) in [
        ("/description", 256, TEXT_256),
        ("/creditorAccount/identification", 256, TEXT_256),
        ("/creditorAccount/name", 350, TEXT_350),
        ("/endToEndIdentification", 35, TEXT_35),
        ("/instructionIdentification", 35, TEXT_35),
        ("/remittanceInformation/reference", 35, TEXT_35),
        ("/remittanceInformation/unstructured/0", 140, TEXT_140),
    ] {
        check(pointer, Some(json!("")), G, rule);
        check(pointer, Some(json!("é".repeat(max + 1))), G, rule);
        for character in ['\0', '\u{1f}', '\u{7f}', '\u{85}', '\u{fffd}', '\u{fffe}', '\u{ffff}'] {
            check(pointer, Some(json!(format!("a{character}b"))), G, rule);
        }
        if pointer != "/creditorAccount/identification" {
            for text in ["🚀".repeat(max), "a\tb\nc\r\n".to_owned(), "שלום & O'Brien".to_owned()]
            {
                let body = with(pointer, Some(json!(text)));
                assert!(parse(&body.to_string()).is_ok(), "{pointer} {text}");
                assert!(document_accepts(&body), "{pointer} {text}");
            }
        }
    }
}

#[test]
fn accounts_name_a_scheme_and_never_a_card() {
    for text in ["", "IBAN", "uk.obie.iban", "UK.OBIE.PAN"] {
        check("/creditorAccount/schemeName", Some(json!(text)), G, SCHEME);
    }
    let other_scheme = with("/debtorAccount/identification", Some(json!("any text")));
    assert!(parse(&other_scheme.to_string()).is_ok());
}

/// Every country of the SWIFT IBAN registry (release 102, June 2026) and the structure of its national part:
/// so many letters (a), digits (n) or both (c).
const REGISTRY: &str = "AD 8n12c AE 19n AL 8n16c AT 16n AZ 4a20c BA 16n BE 12n BG 4a6n8c BH 4a14c BI 23n \
    BR 23n1a1c BY 4c4n16c CH 5n12c CR 18n CY 8n16c CZ 20n DE 18n DJ 23n DK 14n DO 4c20n EE 16n EG 25n ES 20n \
    FI 14n FK 2a12n FO 14n FR 10n11c2n GB 4a14n GE 2a16n GI 4a15c GL 14n GR 7n16c GT 24c HN 4a20n HR 17n \
    HU 24n IE 4a14n IL 19n IQ 4a15n IS 22n IT 1a10n12c JO 4a4n18c KW 4a22c KZ 3n13c LB 4n20c LC 4a24c \
    LI 5n12c LT 16n LU 3n13c LV 4a13c LY 21n MC 10n11c2n MD 20c ME 18n MK 3n10c2n MN 16n MR 23n MT 4a5n18c \
    MU 4a19n3a NI 4a20n NL 4a10n NO 11n OM 3n16c PK 4a16c PL 24n PS 4a21c PT 21n QA 4a21c RO 4a16c RS 18n \
    RU 14n15c SA 2n18c SC 4a20n3a SD 14n SE 20n SI 15n SK 20n SM 1a10n12c SO 19n ST 21n SV 4a20n TL 19n TN 20n \
    TR 6n16c UA 6n19c VA 18n VG 4a16n XK 16n YE 4a4n18c";

/// The IBAN of a country with that national part and its right check digits (ISO 7064, MOD 97-10).
fn iban(country: &str, national: &str) -> String {
    let digits: String = format!("{national}{country}00")
        .chars()
        .map(|c| c.to_digit(36).unwrap().to_string())
        .collect();
    let remainder = digits.bytes().fold(0, |sum, digit| (sum * 10 + u32::from(digit - b'0')) % 97);
    format!("{country}{:02}{national}", 98 - remainder)
}

#[test]
fn an_iban_has_the_length_and_the_structure_of_its_country() {
    let refused =
        |text: String| check("/creditorAccount/identification", Some(json!(text)), F, IBAN);
    let words: Vec<&str> = REGISTRY.split_whitespace().collect();
    assert_eq!(words.len(), 2 * 89);
    for pair in words.chunks(2) {
        let (country, structure) = (pair[0], pair[1]);
        let mut national = String::new();
        for part in structure.split_inclusive(['a', 'n', 'c']) {
            let (count, kind) = part.split_at(part.len() - 1);
            national += &match kind {
                "n" => "4",
                _ => "Q",
            }
            .repeat(count.parse().unwrap());
        }
        let body = with("/creditorAccount/identification", Some(json!(iban(country, &national))));
        assert!(parse(&body.to_string()).is_ok(), "{country} {structure}");
        refused(iban(country, &format!("{national}4")));
        refused(iban(country, &national[1..]));
        // A character of the wrong kind, where the structure has only one kind.
        if let Some(at) = national.find('4') {
            refused(iban(country, &format!("{}Q{}", &national[..at], &national[at + 1..])));
        }
        if structure.contains('a') {
            let at =
                structure.starts_with(|c: char| c != '2').then(|| national.find('Q')).flatten();
            if let Some(at) = at {
                refused(iban(country, &format!("{}4{}", &national[..at], &national[at + 1..])));
            }
        }
    }
}

#[test]
fn an_iban_is_of_a_country_that_has_some_in_upper_case_with_right_check_digits() {
    for text in [
        "GB34BUKB20201555555555",
        "GB33 BUKB 2020 1555 5555 55",
        "gb33bukb20201555555555",
        "GB33BUKB2020155555555\u{665}",
        "GB33",
        "GB881",
        "ZZ191234",
        "x",
    ] {
        check("/creditorAccount/identification", Some(json!(text)), F, IBAN);
    }
    // Countries without IBANs, and check digits that would also give the right remainder.
    for (country, national) in
        [("US", "44444444444444"), ("MA", "4".repeat(24).as_str()), ("AX", "4")]
    {
        let text = iban(country, national);
        check("/creditorAccount/identification", Some(json!(text)), F, IBAN);
    }
    let wraps =
        (0..).map(|n| iban("DE", &format!("{n:018}"))).find(|iban| &iban[2..4] == "02").unwrap();
    assert!(
        parse(&with("/creditorAccount/identification", Some(json!(wraps))).to_string()).is_ok()
    );
    let wrapped = wraps.replacen("DE02", "DE99", 1);
    check("/creditorAccount/identification", Some(json!(wrapped)), F, IBAN);
}

#[test]
fn dates_exist() {
    for text in [
        "2026-13-01",
        "2026-00-10",
        "2026-1-1",
        "24-12-2026",
        "2026-12-24T00:00:00Z",
        "0000-01-01",
        "0999-12-31",
        "",
    ] {
        check("/requestedExecutionDate", Some(json!(text)), G, DATE);
    }
    for text in ["2027-02-29", "2027-04-31"] {
        check("/requestedExecutionDate", Some(json!(text)), F, DATE);
    }
}

#[test]
fn a_day_before_the_day_of_acceptance_is_refused_when_it_is_over_everywhere() {
    for text in ["2026-11-18", "2026-10-31", "2025-12-31", "1000-01-01"] {
        check("/requestedExecutionDate", Some(json!(text)), F, PASSED);
    }
    let accepts = |text: &str, accepted_at_ms: i64| {
        let body = with("/requestedExecutionDate", Some(json!(text)));
        Payment::parse(&body.to_string(), accepted_at_ms).is_ok()
    };
    for text in ["2026-11-19", "2026-11-20", "2026-12-31", "9999-12-31"] {
        assert!(accepts(text, ACCEPTED_AT_MS), "{text}");
    }
    assert!(!accepts("2026-11-19", ACCEPTED_AT_MS + 1), "the 20th has begun everywhere");
    assert!(accepts("2026-11-20", ACCEPTED_AT_MS + 1));
    // Moments that no clock shows.
    assert!(accepts("1000-01-01", i64::MIN) != accepts("1970-01-01", i64::MAX));
}

#[test]
fn remittance_information_says_something() {
    let empty = "must have at least one property";
    check("/remittanceInformation", Some(json!({})), F, empty);
    let none = "must have at least one item";
    check("/remittanceInformation/unstructured", Some(json!([])), F, none);
    for name in ["unstructured", "reference"] {
        let body = with(&format!("/remittanceInformation/{name}"), None);
        assert!(parse(&body.to_string()).is_ok(), "without {name}");
    }
    // A newer gateway may let another property in.
    let newer = with("/remittanceInformation", Some(json!({ "structured": {} })));
    assert!(parse(&newer.to_string()).is_ok());
}

#[test]
fn unknown_properties_are_refused_by_the_gateway_and_kept_by_the_function() {
    for pointer in ["/new", "/creditorAccount/new", "/remittanceInformation/new"] {
        let body = with(pointer, Some(json!({ "any": [1, null, "\u{0}"] })));
        assert!(!document_accepts(&body), "{pointer}");
        assert!(parse(&body.to_string()).is_ok(), "{pointer}");
    }
    let reserved = "is reserved: names must not start with an underscore";
    check("/_storedAt", Some(json!("2026-01-01")), G, reserved);
    let digits = "must be a number of at most 38 significant digits between 1E-130 and 1E+126";
    let body = full().to_string().replacen('{', r#"{"new":1e400,"#, 1);
    let refused = parse(&body).unwrap_err();
    assert_eq!(refused, Refusal::Invalid { field: "new".to_owned(), rule: digits });
}

#[test]
fn what_no_item_could_hold_is_refused() {
    let check = |property: String, rule: &str| {
        let body = full().to_string().replacen('{', &format!("{{{property},"), 1);
        match parse(&body) {
            Err(Refusal::Malformed { rule: given }) => assert_eq!(given, rule),
            other => panic!("{other:?}"),
        }
    };
    let size = "must not take more than 396 KiB when stored";
    check(format!(r#""big":"{}""#, "x".repeat(400 * 1024)), size);
    check(format!(r#""big":[{}0]"#, "[],".repeat(120_000)), size);
    let names = "must have names of 1 to 255 bytes";
    check(r#""":1"#.to_owned(), names);
    check(r#""new":[{"":1}]"#.to_owned(), names);
    check(format!(r#""{}":1"#, "n".repeat(256)), names);
    let longest = full().to_string().replacen('{', &format!(r#"{{"{}":1,"#, "n".repeat(255)), 1);
    assert!(parse(&longest).is_ok());
}

#[test]
fn an_item_may_take_396_kib_to_the_byte() {
    let sized = |bytes: usize| parse(&with("/big", Some(json!("x".repeat(bytes)))).to_string());
    let rest = stored_bytes(sized(0).unwrap().body());
    let exactly = sized(396 * 1024 - rest).unwrap();
    assert_eq!(stored_bytes(exactly.body()), 396 * 1024);
    assert!(sized(396 * 1024 - rest + 1).is_err());
}

#[test]
fn a_payment_id_is_read_from_a_body_that_is_no_payment() {
    let id = |body: &str| readable_payment_id(body).map(|id| id.as_str().to_owned());
    let body = with("/amount", None);
    assert_eq!(id(&body.to_string()).as_deref(), body["paymentId"].as_str());
    for body in ["", "[]", "{}", r#"{"paymentId":7}"#, r#"{"paymentId":"x"}"#] {
        assert_eq!(id(body), None, "{body}");
    }
}

#[test]
fn neither_a_refusal_nor_a_payment_prints_a_value() {
    let secret = "canary-4c0ffee";
    let body = with("/description", Some(json!(secret)));
    let payment = parse(&body.to_string()).unwrap();
    assert!(!format!("{payment:?}").contains(secret), "{payment:?}");
    for pointer in ["/paymentId", "/amount", "/currency", "/creditorAccount/schemeName"] {
        let refusal = parse(&with(pointer, Some(json!(secret))).to_string()).unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains(secret), "{refusal}");
    }
}
