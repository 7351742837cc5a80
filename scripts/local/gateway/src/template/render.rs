//! Renders a template.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use super::syntax::{Condition, Expression, Field, Node, Piece};

/// What rendering came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The text.
    pub(crate) text: String,
    /// The status that the template set, if it did.
    pub(crate) status: Option<StatusCode>,
}

/// The body that a template works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'i> {
    /// The bytes as they came, `$input.body`.
    pub(crate) body: &'i str,
    /// The same as JSON, null if it is not; `$input.path` looks into it.
    pub(crate) json: &'i Value,
}

/// Supplies the values of `$context`. None is Velocity's null.
pub(crate) type Values<'v> = dyn Fn(Field) -> Option<Cow<'v, str>> + 'v;

/// Renders a template with so many variables.
pub(crate) fn render(
    nodes: &[Node],
    variables: usize,
    input: Input<'_>,
    values: &Values<'_>,
) -> Rendered {
    let text = String::with_capacity(input.body.len() * 2);
    let variables = vec![None; variables];
    let mut scope = Scope { input, values, variables, status: None };
    let text = scope.render(nodes, text);
    Rendered { text, status: scope.status }
}

/// One rendering.
struct Scope<'r, 'v> {
    input: Input<'r>,
    values: &'r Values<'v>,
    variables: Vec<Option<String>>,
    status: Option<StatusCode>,
}

impl Scope<'_, '_> {
    fn render(&mut self, nodes: &[Node], mut out: String) -> String {
        for node in nodes {
            match node {
                Node::Piece(piece) => self.render_piece(piece, &mut out),
                Node::SetVariable(variable, expression) => {
                    self.variables[*variable] = self.value(expression).map(Cow::into_owned);
                }
                Node::SetStatus(status) => self.status = Some(*status),
                Node::If(condition, then, otherwise) => {
                    let chosen = if self.holds(condition) { then } else { otherwise };
                    out = self.render(chosen, out);
                }
            }
        }
        out
    }

    fn render_piece(&self, piece: &Piece, out: &mut String) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Reference(expression, source) => match self.value(expression) {
                Some(value) => out.push_str(&value),
                None => out.push_str(source),
            },
        }
    }

    fn value<'s>(&'s self, expression: &'s Expression) -> Option<Cow<'s, str>> {
        match expression {
            Expression::Literal(text) => Some(Cow::Borrowed(text)),
            Expression::Interpolated(pieces) => {
                let mut out = String::new();
                for piece in pieces {
                    self.render_piece(piece, &mut out);
                }
                Some(Cow::Owned(out))
            }
            Expression::Variable(variable) => self.variables[*variable].as_deref().map(Into::into),
            Expression::Field(field) => (self.values)(*field),
            Expression::Body => Some(Cow::Borrowed(self.input.body)),
            Expression::Path(pointer) => match self.input.json.pointer(pointer)? {
                Value::Null => None,
                Value::String(text) => Some(Cow::Borrowed(text)),
                other
                @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    Some(Cow::Owned(other.to_string()))
                }
            },
            Expression::UrlEncoded(inner) => {
                let inner = self.value(inner)?;
                Some(Cow::Owned(byte_serialize(inner.as_bytes()).collect()))
            }
        }
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Present(expression) => self.value(expression).is_some(),
            Condition::NotEqual(left, right) => self.value(left) != self.value(right),
            Condition::Matches(expression, pattern) => {
                self.value(expression).is_some_and(|value| pattern.is_match(&value))
            }
            Condition::Both(left, right) => self.holds(left) && self.holds(right),
        }
    }
}
