//! The payment, parsed: a value of these types keeps every rule of the contract.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::json::{self, Json, Object};
use crate::refusal::Refusal;
use crate::text::{
    AccountIdentification, AccountName, Amount, CalendarDate, CurrencyCode, Description, Max35Text,
    Max140Text, Parse, PaymentId, UserId, invalid, is_iban,
};
use crate::timestamp::rfc3339;

/// Prefix of the attributes that we add to an item. A body may not use it.
pub const RESERVED_PREFIX: char = '_';

/// Bytes that a body may take in an item: DynamoDB's 400 KB less room for our own attributes.
const STORED_BYTES_MAX: usize = 400 * 1024 - 4 * 1024;

/// Bytes of a property's name, DynamoDB's limit for names that an index may project.
const NAME_BYTES_MAX: usize = 255;

/// How far the last place on earth where a day ends is behind UTC (the zone UTC-12).
const LAST_ZONE_MS: i64 = 12 * 60 * 60 * 1000;

/// A payment to submit.
///
/// The body of `PUT /submit`, of the queued message and, property by property, of the stored item.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Payment {
    /// The idempotency key, a lower-case UUID that the client chooses. Repeating a PUT with the same
    /// paymentId and the same body is harmless; a new paymentId is a new payment.
    payment_id: PaymentId,
    /// The paying user: the subject (`sub`) of the token.
    user_id: UserId,
    /// The amount in major units as a decimal string, never a number. Greater than zero, with no more
    /// decimals than the currency has.
    amount: Amount,
    /// ISO 4217 alphabetic code of money in circulation: no withdrawn, fund, metal or test code.
    currency: CurrencyCode,
    /// What the payment is for.
    description: Description,
    /// The account that receives the money.
    creditor_account: Option<Account>,
    /// The account that pays.
    debtor_account: Option<Account>,
    /// The client's reference that travels to the creditor (ISO 20022 EndToEndIdentification).
    end_to_end_identification: Option<Max35Text>,
    /// The client's reference between it and the bank (ISO 20022 InstructionIdentification).
    instruction_identification: Option<Max35Text>,
    /// What the creditor needs to match the payment, with at least one of its properties.
    remittance_information: Option<RemittanceInformation>,
    /// The day on which the payment is to be executed: not before the day of acceptance, which is read in
    /// the time zone where it comes last, UTC less 12 hours.
    requested_execution_date: Option<CalendarDate>,
    #[schemars(skip)]
    amount_minor: u64,
    #[schemars(skip)]
    body: Object,
}

/// Blank: what a payment says never reaches a log.
impl fmt::Debug for Payment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Payment(_)")
    }
}

/// A bank account in one of the Open Banking schemes. Card numbers do not belong here.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Account {
    /// How the identification is to be read.
    pub scheme_name: SchemeName,
    /// The account's number in that scheme. An IBAN is checked whole: country, length, structure and
    /// check digits. It is written in upper case without spaces.
    pub identification: AccountIdentification,
    /// The holder of the account.
    pub name: Option<AccountName>,
}

/// Open Banking UK's account identification schemes (`OBExternalAccountIdentification4Code`) without the
/// one for cards (UK.OBIE.PAN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemeName {
    /// Basic bank account number.
    Bban,
    /// International bank account number.
    Iban,
    /// A mobile number known to Paym.
    Paym,
    /// Sort code and account number.
    SortCodeAccountNumber,
}

/// What the creditor needs to match the payment.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemittanceInformation {
    /// Lines of free text, at least one.
    pub unstructured: Option<Vec<Max140Text>>,
    /// The creditor's reference.
    pub reference: Option<Max35Text>,
}

impl Payment {
    /// Reads a payment from a body, keeping properties that this version does not know: the gateway
    /// refuses those, but a newer gateway may be ahead of a function. `accepted_at_ms`, in milliseconds
    /// since 1970-01-01 UTC, is when the body was accepted: the day on which it is to be executed is
    /// judged by that moment, however late the body is read.
    ///
    /// # Errors
    /// The first rule that the body breaks.
    pub fn parse(body: &str, accepted_at_ms: i64) -> Result<Payment, Refusal> {
        let body = json::parse_object(body)?;
        check_storable(&body)?;
        let properties = Properties(&body);
        let payment_id = properties.required("paymentId")?;
        let user_id = properties.required("userId")?;
        let amount: Amount = properties.required("amount")?;
        let currency: CurrencyCode = properties.required("currency")?;
        let amount_minor = amount.minor_units(currency.minor_unit_digits()).ok_or_else(|| {
            invalid("must not have more decimals than its currency").under("amount")
        })?;
        let requested_execution_date: Option<CalendarDate> =
            properties.optional("requestedExecutionDate")?;
        if requested_execution_date.as_ref().is_some_and(|day| has_passed(day, accepted_at_ms)) {
            return Err(
                invalid("must not be before the day of acceptance").under("requestedExecutionDate")
            );
        }
        Ok(Payment {
            payment_id,
            user_id,
            amount,
            currency,
            description: properties.required("description")?,
            creditor_account: properties.optional("creditorAccount")?,
            debtor_account: properties.optional("debtorAccount")?,
            end_to_end_identification: properties.optional("endToEndIdentification")?,
            instruction_identification: properties.optional("instructionIdentification")?,
            remittance_information: properties.optional("remittanceInformation")?,
            requested_execution_date,
            amount_minor,
            body,
        })
    }

    /// The idempotency key.
    #[must_use]
    pub fn payment_id(&self) -> &PaymentId {
        &self.payment_id
    }

    /// The paying user.
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// The amount in minor units of its currency.
    #[must_use]
    pub fn amount_minor(&self) -> u64 {
        self.amount_minor
    }

    /// Every property as it was sent, known or not.
    #[must_use]
    pub fn body(&self) -> &Object {
        &self.body
    }
}

/// Whether a day was over everywhere on earth at that moment. Both are written so that texts sort by time.
fn has_passed(day: &CalendarDate, at_ms: i64) -> bool {
    day.as_str() < &rfc3339(at_ms.saturating_sub(LAST_ZONE_MS))[.."YYYY-MM-DD".len()]
}

/// The paymentId that a body names, whatever else is wrong with the body: records are filed under it.
#[must_use]
pub fn readable_payment_id(body: &str) -> Option<PaymentId> {
    json::only_text(body, "paymentId")?.parse().ok()
}

/// What no table could store or what would collide with our own attributes.
fn check_storable(body: &Object) -> Result<(), Refusal> {
    check_names(body)?;
    if let Some(name) = body.keys().find(|name| name.starts_with(RESERVED_PREFIX)) {
        return Err(invalid("is reserved: names must not start with an underscore").under(name));
    }
    if json::stored_bytes(body) > STORED_BYTES_MAX {
        return Err(Refusal::Malformed { rule: "must not take more than 396 KiB when stored" });
    }
    Ok(())
}

fn check_names(object: &Object) -> Result<(), Refusal> {
    for (name, value) in object {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Refusal::Malformed { rule: "must have names of 1 to 255 bytes" });
        }
        check_names_within(value)?;
    }
    Ok(())
}

fn check_names_within(value: &Json) -> Result<(), Refusal> {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(()),
        Json::Array(items) => items.iter().try_for_each(check_names_within),
        Json::Object(members) => check_names(members),
    }
}

/// An object whose properties are read one by one.
struct Properties<'a>(&'a Object);

impl Properties<'_> {
    fn required<T: Parse>(&self, name: &str) -> Result<T, Refusal> {
        match self.0.get(name) {
            Some(value) => T::parse(value).map_err(|refusal| refusal.under(name)),
            None => Err(invalid("is required").under(name)),
        }
    }

    fn optional<T: Parse>(&self, name: &str) -> Result<Option<T>, Refusal> {
        self.0.contains_key(name).then(|| self.required(name)).transpose()
    }
}

fn object(value: &Json) -> Result<Properties<'_>, Refusal> {
    match value {
        Json::Object(members) => Ok(Properties(members)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Err(invalid("must be an object"))
        }
    }
}

impl Parse for Account {
    fn parse(value: &Json) -> Result<Self, Refusal> {
        let properties = object(value)?;
        let account = Account {
            scheme_name: properties.required("schemeName")?,
            identification: properties.required("identification")?,
            name: properties.optional("name")?,
        };
        if account.scheme_name == SchemeName::Iban && !is_iban(account.identification.as_str()) {
            return Err(
                invalid("must be an IBAN in upper case without spaces").under("identification")
            );
        }
        Ok(account)
    }
}

impl SchemeName {
    /// The names that stand for the schemes.
    const NAMES: [(&str, SchemeName); 4] = [
        ("UK.OBIE.BBAN", SchemeName::Bban),
        ("UK.OBIE.IBAN", SchemeName::Iban),
        ("UK.OBIE.Paym", SchemeName::Paym),
        ("UK.OBIE.SortCodeAccountNumber", SchemeName::SortCodeAccountNumber),
    ];
}

impl Parse for SchemeName {
    fn parse(value: &Json) -> Result<Self, Refusal> {
        let Json::String(text) = value else { return Err(invalid("must be a string")) };
        let known = Self::NAMES.iter().find(|(name, _)| name == text);
        known
            .map(|(_, scheme)| *scheme)
            .ok_or(invalid("must be one of the Open Banking schemes except UK.OBIE.PAN"))
    }
}

impl JsonSchema for SchemeName {
    fn schema_name() -> Cow<'static, str> {
        "SchemeName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Self::NAMES.map(|(name, _)| name);
        json_schema!({ "type": "string", "enum": names, "example": names[1] })
    }
}

impl Parse for RemittanceInformation {
    fn parse(value: &Json) -> Result<Self, Refusal> {
        let properties = object(value)?;
        if properties.0.is_empty() {
            return Err(invalid("must have at least one property"));
        }
        Ok(RemittanceInformation {
            unstructured: properties.optional("unstructured")?,
            reference: properties.optional("reference")?,
        })
    }
}

impl<T: Parse> Parse for Vec<T> {
    fn parse(value: &Json) -> Result<Self, Refusal> {
        let Json::Array(items) = value else { return Err(invalid("must be a list")) };
        if items.is_empty() {
            return Err(invalid("must have at least one item"));
        }
        let item =
            |(index, item)| T::parse(item).map_err(|refusal| refusal.under(&format!("[{index}]")));
        items.iter().enumerate().map(item).collect()
    }
}
