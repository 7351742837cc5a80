//! Bodies that break the schema, and some that only the function can judge.

use super::*;

/// What is to become of a body.
enum Expected {
    /// Refused with 400 and exactly this message.
    Says(String),
    /// Refused with 400, and this is a part of the message.
    SaysAmongOthers(&'static str),
    /// Left to the function.
    Queued,
}
use Expected::{Queued, Says, SaysAmongOthers};

type BodyCases = Vec<(String, Expected)>;

fn not_json() -> Expected {
    Says("[Unknown error parsing request body]".to_owned())
}

fn wrong_type(found: &str, allowed: &str) -> Expected {
    Says(format!(
        "[instance type ({found}) does not match any allowed primitive type (allowed: \
         [\"{allowed}\"])]"
    ))
}

/// Not one JSON object.
fn malformed_bodies() -> BodyCases {
    let mut cases = BodyCases::new();
    for body in ["", " ", "{", "NaN", "{}{}", "{},", "\u{feff}{}", "nul", "'x'", "{\"a\":1,}"] {
        cases.push((body.to_owned(), not_json()));
    }
    for (body, found) in [
        ("null", "null"),
        ("[]", "array"),
        ("[\"x\",1]", "array"),
        ("\"str\"", "string"),
        ("1", "integer"),
        ("true", "boolean"),
    ] {
        cases.push((body.to_owned(), wrong_type(found, "object")));
    }
    let whole = payment().to_string();
    cases.push((format!("\u{feff}{whole}"), not_json()));
    cases.push((format!("{whole}{whole}"), not_json()));
    cases.push((whole[..whole.len() - 1].to_owned(), not_json()));
    cases
}

/// Required properties missing and of the wrong type.
fn incomplete_bodies() -> BodyCases {
    let mut cases = BodyCases::new();
    for property in ["paymentId", "userId", "amount", "currency", "description"] {
        let mut payment = payment();
        payment.as_object_mut().expect("an object").remove(property);
        let missing = format!("[object has missing required properties ([\"{property}\"])]");
        cases.push((payment.to_string(), Says(missing)));
        for (value, found) in [
            ("null", "null"),
            ("1", "integer"),
            ("1.5", "number"),
            ("true", "boolean"),
            ("[]", "array"),
            ("{}", "object"),
            ("[\"x\"]", "array"),
        ] {
            cases.push((with(property, value), wrong_type(found, "string")));
        }
        cases.push((with(property, "\"\""), SaysAmongOthers("is too short (length: 0, ")));
        cases.push((with(property, "\"\\ud800\""), not_json()));
    }
    let all = "[object has missing required properties \
               ([\"amount\",\"currency\",\"description\",\"paymentId\",\"userId\"])]";
    cases.push(("{}".to_owned(), Says(all.to_owned())));
    cases
}

/// Strings that break a rule, or that a pattern cannot judge.
fn wrong_strings() -> BodyCases {
    let mut cases = BodyCases::new();
    let no_match = || SaysAmongOthers("\" does not match input string \"");
    let uuid = "7d4df5ae-3f6b-4c27-9d0e-5b6c1c1f0a41";
    for property in ["paymentId", "userId"] {
        for value in [
            uuid.to_uppercase(),
            format!("{uuid}\\n"),
            format!("{uuid} "),
            format!(" {uuid}"),
            uuid.replace('-', ""),
            format!("{{{uuid}}}"),
            format!("urn:uuid:{uuid}"),
        ] {
            cases.push((with(property, &format!("\"{value}\"")), no_match()));
        }
    }
    for amount in [
        "-1",
        "+1",
        "1e3",
        "007",
        "00",
        ".5",
        "1.",
        "1,5",
        " 1",
        "1 ",
        "1\\n",
        "0x1",
        "Infinity",
        "12345678901234",
        "1.123456",
        "\u{661}\u{662}",
        "１",
    ] {
        cases.push((with("amount", &format!("\"{amount}\"")), no_match()));
    }
    // A pattern cannot tell.
    for (property, value) in [
        ("amount", "\"0\""),
        ("amount", "\"0.00\""),
        ("amount", "\"1.005\""),
        ("currency", "\"ZZZ\""),
    ] {
        cases.push((with(property, value), Queued));
    }
    for currency in ["gbp", "GB", "GBPX", "GBP\\n", "ＧＢＰ"] {
        cases.push((with("currency", &format!("\"{currency}\"")), no_match()));
    }
    for description in ["\\u0000", "\\u0001x", "\\u001f", "\\ufffe", "\\uffff"] {
        cases.push((with("description", &format!("\"{description}\"")), no_match()));
    }
    let long = "x".repeat(257);
    let too_long = format!("[string \"{long}\" is too long (length: 257, maximum allowed: 256)]");
    cases.push((with("description", &format!("\"{long}\"")), Says(too_long)));
    cases
}

/// Unknown properties, and properties of properties.
fn wrong_shapes() -> BodyCases {
    let whole = payment().to_string();
    let mut cases = BodyCases::new();
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let unknown = |name: &str| {
        let words = "object instance has properties which are not allowed by the schema";
        Says(format!("[{words}: [\"{name}\"]]"))
    };
    cases.push((with("unknown", "1"), unknown("unknown")));
    cases.push((with("un known", "1"), unknown("un known")));
    cases.push((with("_storedAt", "1"), unknown("_storedAt")));
    cases.push((with("unknown", &nested(31)), unknown("unknown")));
    cases.push((with("unknown", &nested(200)), not_json()));
    let missing = "[object has missing required properties ([\"identification\",\"schemeName\"])]";
    cases.push((with("creditorAccount", "{}"), Says(missing.to_owned())));
    // API Gateway lets them pass; the function refuses what is ambiguous.
    cases.push((whole.replace('{', "{\"amount\":\"1\","), Queued));
    cases
}

#[tokio::test]
async fn a_bad_body_is_refused_in_the_words_of_api_gateway() {
    let stack = Stack::new();
    let cases = [malformed_bodies(), incomplete_bodies(), wrong_strings(), wrong_shapes()];
    for (body, expected) in cases.into_iter().flatten() {
        let (status, answer, _) = stack.submit(body.clone()).await;
        if matches!(expected, Queued) {
            assert_eq!(status, 200, "{body}: {answer}");
            assert_eq!(stack.take_sent().len(), 1, "{body}");
            continue;
        }
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_body")), "{body}");
        assert_eq!(stack.take_sent().len(), 0, "{body}");
        let message = answer["message"].as_str().expect("a message");
        match expected {
            Says(sentence) => assert_eq!(message, sentence, "{body}"),
            SaysAmongOthers(words) => assert!(message.contains(words), "{body}: {message}"),
            Queued => {}
        }
    }
}
