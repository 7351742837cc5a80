//! What a template is made of.

use axum::http::StatusCode;
use regex::Regex;

/// A `$context` variable that the gateway supplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// `$context.extendedRequestId`: the id the gateway chose, which no client can.
    ExtendedRequestId,
    /// `$context.requestTimeEpoch`: when the request arrived, in milliseconds.
    RequestTimeEpoch,
    /// `$context.xrayTraceId`: the trace's root id, if there is a trace.
    XrayTraceId,
    /// `$context.authorizer.claims.sub`: the verified user.
    Subject,
    /// `$context.error.messageString`: a JSON string with its quotes.
    ErrorMessageString,
    /// `$context.error.validationErrorString`: what is wrong with the body, without quotes.
    ValidationErrorString,
}

/// What a template is made of, in order.
#[derive(Debug)]
pub(crate) enum Node {
    Piece(Piece),
    SetVariable(usize, Expression),
    SetStatus(StatusCode),
    If(Condition, Vec<Node>, Vec<Node>),
}

/// What goes into the text.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(String),
    /// A reference, and how it is written: Velocity prints that for a null.
    Reference(Expression, String),
}

/// What has a value, which may be null.
#[derive(Debug)]
pub(crate) enum Expression {
    Literal(String),
    Interpolated(Vec<Piece>),
    Variable(usize),
    Field(Field),
    Body,
    Path(String),
    UrlEncoded(Box<Expression>),
}

/// What an `#if` asks.
#[derive(Debug)]
pub(crate) enum Condition {
    Present(Expression),
    NotEqual(Expression, Expression),
    Matches(Expression, Regex),
    Both(Box<Condition>, Box<Condition>),
}
