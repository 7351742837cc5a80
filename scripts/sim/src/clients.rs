//! What clients submit: new payments, retries in another spelling, conflicts, lies about the user,
//! and what is no payment. The class of a submission is known by construction, so that the checks
//! need none of the code that they check.

use std::collections::BTreeMap;

use fastrand::Rng;
use schema::envelope::attribute;

/// Key of a payment: paymentId and userId.
pub type Key = (String, String);

/// Users that submit payments.
const USERS: u32 = 3;

/// What a payment says, whatever its spelling: two payments are the same when this is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    amount: u32,
    description: u32,
    /// A property of a newer contract.
    extra: Option<u32>,
}

/// The largest amount, in minor units, that the stricter of two versions of the function takes.
pub const STRICT_AMOUNT_MINOR_MAX: u64 = 1_150;

impl Content {
    /// Whether the stricter version of the function refuses such a payment.
    #[must_use]
    pub fn is_strictly_invalid(self) -> bool {
        minor_units(self.amount) > STRICT_AMOUNT_MINOR_MAX
    }

    /// Names of the properties in which two payments differ.
    #[must_use]
    pub fn differences(self, other: Content) -> Vec<&'static str> {
        [
            ("amount", self.amount != other.amount),
            ("description", self.description != other.description),
            ("extra", self.extra.is_some() != other.extra.is_some()),
            ("extra.n", self.extra.is_some_and(|n| other.extra.is_some_and(|other| n != other))),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

/// Amounts are 10.50, 11.50 and 12.50.
fn minor_units(amount: u32) -> u64 {
    u64::from(amount) * 100 + 1_050
}

/// What must become of a submission.
#[derive(Debug, Clone)]
pub enum Class {
    /// A payment for the submitter: stored, or a duplicate, or a conflict with what came first, or
    /// refused by the stricter version before it was stored.
    Payment(Key, Content),
    /// Refused for this reason and filed under this paymentId.
    Refused(Option<String>, &'static str),
    /// Nobody vouches for it: only an operator can help.
    Unverified,
}

/// One accepted submission. Its number is in its requestId and in the ids of its messages.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What must become of it.
    pub class: Class,
    /// Subject of the token.
    pub sub: Option<String>,
    /// The body as it was sent.
    pub body: String,
    /// Message attributes.
    pub attributes: BTreeMap<String, String>,
    /// The X-Ray trace.
    pub trace_header: Option<String>,
}

/// The requestId of a submission.
#[must_use]
pub fn request_id(number: usize) -> String {
    format!("r{number}")
}

/// The submission of which a requestId or a message id tells.
#[must_use]
pub fn number_of(id: &str) -> Option<usize> {
    id.get(1..)?.split('-').next()?.parse().ok()
}

fn payment_id(number: usize) -> String {
    format!("0b9f6a1e-6c1d-4a57-9f0e-{number:012}")
}

fn user_id(number: u32) -> String {
    format!("5f2c8d34-1b7e-4e0a-8c55-{number:012}")
}

/// The next submission, beside those that were made before.
#[must_use]
pub fn submit(rng: &mut Rng, before: &[Submission], now_ms: i64) -> Submission {
    let number = before.len();
    let user = user_id(rng.u32(0..USERS));
    let content = Content {
        amount: rng.u32(0..3),
        description: rng.u32(0..3),
        extra: (rng.u32(0..4) == 0).then(|| rng.u32(0..3)),
    };
    let id = payment_id(number);
    let earlier = (!before.is_empty()).then(|| &before[rng.usize(0..before.len())].class);
    let payment = |rng: &mut Rng, key: Key, content| {
        let body = spell(rng, &key.0, &key.1, content);
        (Class::Payment(key, content), body)
    };
    let (class, body) = match (rng.u32(0..100), earlier) {
        (0..20, Some(Class::Payment(key, content))) => payment(rng, key.clone(), *content),
        (20..38, Some(Class::Payment(key, _))) => payment(rng, key.clone(), content),
        (38..44, _) => {
            let other = user_id(USERS + rng.u32(0..USERS));
            let body = spell(rng, &id, &other, content);
            (Class::Refused(Some(id), "owner_mismatch"), body)
        }
        (44..50, _) => invalid(rng, id, &user, content),
        (50..54, _) => malformed(rng, id),
        (54..57, _) => (Class::Unverified, spell(rng, &id, &user, content)),
        (_, _) => payment(rng, (id, user.clone()), content),
    };
    let sub = match &class {
        Class::Payment((_, user), _) => Some(user.clone()),
        Class::Refused(..) => Some(user),
        Class::Unverified => None,
    };
    let mut attributes = BTreeMap::from([
        (attribute::REQUEST_ID.to_owned(), request_id(number)),
        (attribute::ACCEPTED_AT.to_owned(), now_ms.to_string()),
        (attribute::SCHEMA_VERSION.to_owned(), rng.u32(1..3).to_string()),
    ]);
    if let Some(sub) = &sub {
        attributes.insert(attribute::SUB.to_owned(), sub.clone());
    } else if rng.bool() {
        attributes.insert(attribute::SUB.to_owned(), " ".to_owned());
    }
    if rng.u32(0..8) == 0 {
        attributes.insert("fromANewerGateway".to_owned(), "kept".to_owned());
    }
    let trace_header = rng.bool().then(|| format!("Root=1-67891233-{number:024x}"));
    Submission { class, sub, body, attributes, trace_header }
}

fn invalid(rng: &mut Rng, id: String, user: &str, content: Content) -> (Class, String) {
    let body = spell(rng, &id, user, content);
    let body = match rng.u32(0..3) {
        0 => body.replace("GBP", "XXX"),
        1 => body.replace("GBP", "JPY"),
        _ => body.replacen('{', r#"{"_storedAt":"2026-01-01","#, 1),
    };
    (Class::Refused(Some(id), "invalid"), body)
}

fn malformed(rng: &mut Rng, id: String) -> (Class, String) {
    let deep = |bracket: &str| bracket.repeat(40);
    let (is_id_readable, body) = match rng.u32(0..6) {
        0 => (false, "[1]".to_owned()),
        1 => (false, "{".to_owned()),
        2 => (false, format!(r#"{{"paymentId":"{id}","paymentId":"{id}"}}"#)),
        3 => (true, format!(r#"{{"paymentId":"{id}","deep":{}{}}}"#, deep("["), deep("]"))),
        4 => (true, format!(r#"{{"amount":"1","paymentId":"{id}","amount":"1"}}"#)),
        _ => (true, format!(r#"{{"paymentId":"{id}"}}{{}}"#)),
    };
    (Class::Refused(is_id_readable.then_some(id), "malformed"), body)
}

/// A payment in one of its spellings: order of properties, white space, escapes, zeros.
fn spell(rng: &mut Rng, id: &str, user: &str, content: Content) -> String {
    const TEXTS: [[&str; 2]; 3] = [
        ["O'Brien &Action=DeleteQueue", r"O\u0027Brien \u0026Action=DeleteQueue"],
        ["é 😀 + %26", r"\u00e9 \ud83d\ude00 + %26"],
        [r"$input #set\n", r"\u0024input #set\u000a"],
    ];
    const NUMBERS: [[&str; 2]; 3] = [["2.5", "25e-1"], ["100", "1.00E2"], ["-0.125", "-0.1250"]];
    let amount = minor_units(content.amount) / 100;
    let amount = if rng.bool() { format!("{amount}.50") } else { format!("{amount}.5") };
    let text = TEXTS[content.description as usize][rng.usize(0..2)];
    let mut properties = vec![
        format!(r#""paymentId":"{id}""#),
        format!(r#""userId":"{user}""#),
        format!(r#""amount":"{amount}""#),
        r#""currency":"GBP""#.to_owned(),
        format!(r#""description":"{text}""#),
    ];
    if let Some(extra) = content.extra {
        let number = NUMBERS[extra as usize][rng.usize(0..2)];
        properties.push(format!(r#""extra":{{"n":{number},"list":[true,null,"x"]}}"#));
    }
    if rng.bool() {
        rng.shuffle(&mut properties);
    }
    let comma = [",", ", ", ",\n  "][rng.usize(0..3)];
    format!("{{{}}}", properties.join(comma))
}
