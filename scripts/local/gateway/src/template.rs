//! The part of Velocity that the document's mapping templates use, and no more of it: a construct
//! that is not listed here is an error when the document is read, never a surprise in a payment.
//!
//! | construct | meaning |
//! |---|---|
//! | `$context.…` | a [`Field`] |
//! | `$input.body`, `$input.path('$.a.b')` | the body as it came; a value in it, if it is JSON |
//! | `$util.urlEncode(x)` | `application/x-www-form-urlencoded` |
//! | `#set($name = x)`, `$name` | a variable |
//! | `#set($context.responseOverride.status = 500)` | the status of the response |
//! | `#if(x)`, `#if(x != y)`, `#if(x.matches('…'))`, `&&`, `#else`, `#end` | a choice |
//! | `'text'`, `"text with $references"` | strings, inside the parentheses of the others |
//!
//! A template is one line: Velocity's rules about the white space around directives do not apply.

use std::borrow::Cow;

use anyhow::{Context as _, Result, bail, ensure};
use axum::http::StatusCode;
use regex::Regex;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

/// A template that has been read, ready to be rendered any number of times.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
    variables: usize,
}

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

/// Supplies the values of `$context`. None is Velocity's null.
pub(crate) type Values<'v> = dyn Fn(Field) -> Option<Cow<'v, str>> + 'v;

#[derive(Debug)]
enum Node {
    Piece(Piece),
    SetVariable(usize, Expression),
    SetStatus(StatusCode),
    If(Condition, Vec<Node>, Vec<Node>),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// A reference, and how it is written: Velocity prints that for a null.
    Reference(Expression, String),
}

#[derive(Debug)]
enum Expression {
    Literal(String),
    Interpolated(Vec<Piece>),
    Variable(usize),
    Field(Field),
    Body,
    Path(String),
    UrlEncoded(Box<Expression>),
}

#[derive(Debug)]
enum Condition {
    Present(Expression),
    NotEqual(Expression, Expression),
    Matches(Expression, Regex),
    Both(Box<Condition>, Box<Condition>),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Anything that is not in the module's table.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        ensure!(
            !text.contains(['\n', '\r', '\\']),
            "line breaks and backslashes in a template are not supported"
        );
        let mut parser = Parser { text, at: 0, variables: Vec::new() };
        let nodes = parser.nodes().with_context(|| parser.position())?;
        ensure!(parser.rest().is_empty(), "unexpected directive {}", parser.position());
        Ok(Self { nodes, variables: parser.variables.len() })
    }

    /// Reads the template of a gateway response, where only `$context` variables are replaced.
    ///
    /// # Errors
    /// Anything else that has a meaning in Velocity: API Gateway would send it out as it stands.
    pub(crate) fn parse_plain(text: &str) -> Result<Self> {
        let template = Self::parse(text)?;
        let plain = template.nodes.iter().all(|node| match node {
            Node::Piece(Piece::Text(_) | Piece::Reference(Expression::Field(_), _)) => true,
            Node::Piece(Piece::Reference(..))
            | Node::SetVariable(..)
            | Node::SetStatus(_)
            | Node::If(..) => false,
        });
        ensure!(plain, "a gateway response can only use $context variables");
        Ok(template)
    }

    /// Renders the template.
    pub(crate) fn render(&self, input: Input<'_>, values: &Values<'_>) -> Rendered {
        let text = String::with_capacity(input.body.len() * 2);
        let variables = vec![None; self.variables];
        let mut scope = Scope { input, values, variables, status: None };
        let text = scope.render(&self.nodes, text);
        Rendered { text, status: scope.status }
    }
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

struct Parser<'t> {
    text: &'t str,
    at: usize,
    variables: Vec<String>,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn position(&self) -> String {
        format!("at character {} of {:?}", self.at, self.text)
    }

    /// Steps over `token` if it comes next.
    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        ensure!(self.take(token), "expected {token:?}");
        Ok(())
    }

    fn blanks(&mut self) {
        while self.take(" ") {}
    }

    fn take_until(&mut self, end: char) -> Result<&'t str> {
        let length = self.rest().find(end).with_context(|| format!("expected {end:?}"))?;
        let found = &self.rest()[..length];
        self.at += length + end.len_utf8();
        Ok(found)
    }

    /// Velocity's identifiers: a letter, then letters, digits, hyphens and underscores.
    fn identifier(&mut self) -> Result<&'t str> {
        let rest = self.rest();
        ensure!(starts_with_letter(rest), "expected a name");
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        self.at += name.len();
        Ok(name)
    }

    /// Text, references and directives, up to an `#else` or `#end` that belongs to somebody else.
    fn nodes(&mut self) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            let rest = self.rest();
            let text = &rest[..rest.find(['$', '#']).unwrap_or(rest.len())];
            if !text.is_empty() {
                nodes.push(Node::Piece(Piece::Text(text.to_owned())));
                self.at += text.len();
            }
            let rest = self.rest();
            let special = rest.get(1..).unwrap_or_default();
            if rest.is_empty() || begins_with_word(rest, "#else") || begins_with_word(rest, "#end")
            {
                return Ok(nodes);
            } else if starts_with_letter(special) {
                let directive = rest.starts_with('#');
                nodes.push(if directive { self.directive()? } else { self.reference_node()? });
            } else {
                ensure!(!special.starts_with(['!', '{', '#', '*', '[', '@']), "unknown construct");
                nodes.push(Node::Piece(Piece::Text(rest[..1].to_owned())));
                self.at += 1;
            }
        }
    }

    fn directive(&mut self) -> Result<Node> {
        if self.take("#set($context.responseOverride.status = ") {
            let status = self.take_until(')')?;
            return Ok(Node::SetStatus(status.parse().context("not a status")?));
        }
        if self.take("#set($") {
            let name = self.identifier()?;
            ensure!(!["context", "input", "util"].contains(&name), "${name} cannot be set");
            self.expect(" = ")?;
            let value = self.expression()?;
            self.expect(")")?;
            return Ok(Node::SetVariable(self.declare(name), value));
        }
        ensure!(self.take("#if("), "unknown directive");
        let condition = self.condition()?;
        self.expect(")")?;
        let then = self.nodes()?;
        let otherwise = if self.take("#else") { self.nodes()? } else { Vec::new() };
        self.expect("#end")?;
        Ok(Node::If(condition, then, otherwise))
    }

    fn declare(&mut self, name: &str) -> usize {
        let known = self.variables.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.variables.push(name.to_owned());
            self.variables.len() - 1
        })
    }

    fn condition(&mut self) -> Result<Condition> {
        let left = self.expression()?;
        let condition = if self.take(".matches('") {
            let pattern = self.take_until('\'')?;
            self.expect(")")?;
            // As Java's String.matches: the whole text.
            Condition::Matches(left, Regex::new(&format!("^(?:{pattern})$"))?)
        } else {
            self.blanks();
            if self.take("!=") {
                self.blanks();
                Condition::NotEqual(left, self.expression()?)
            } else {
                Condition::Present(left)
            }
        };
        self.blanks();
        if self.take("&&") {
            self.blanks();
            return Ok(Condition::Both(Box::new(condition), Box::new(self.condition()?)));
        }
        Ok(condition)
    }

    fn expression(&mut self) -> Result<Expression> {
        if self.take("'") {
            return Ok(Expression::Literal(self.take_until('\'')?.to_owned()));
        }
        if self.take("\"") {
            let inner = self.take_until('"')?;
            let variables = std::mem::take(&mut self.variables);
            let mut parser = Parser { text: inner, at: 0, variables };
            let nodes = parser.nodes();
            self.variables = parser.variables;
            let pieces = nodes?.into_iter().map(|node| match node {
                Node::Piece(piece) => Ok(piece),
                Node::SetVariable(..) | Node::SetStatus(_) | Node::If(..) => {
                    bail!("a directive inside a string is not supported")
                }
            });
            return Ok(Expression::Interpolated(pieces.collect::<Result<_>>()?));
        }
        self.reference()
    }

    fn reference_node(&mut self) -> Result<Node> {
        let start = self.at;
        let expression = self.reference()?;
        let next = self.rest().strip_prefix('.').unwrap_or_default();
        ensure!(!starts_with_letter(next), "unknown property or method");
        let source = self.text[start..self.at].to_owned();
        Ok(Node::Piece(Piece::Reference(expression, source)))
    }

    fn reference(&mut self) -> Result<Expression> {
        self.expect("$")?;
        match self.identifier()? {
            "input" if self.take(".body") => Ok(Expression::Body),
            "input" if self.take(".path('$.") => {
                let path = self.take_until('\'')?;
                let simple = |c: char| c.is_ascii_alphanumeric() || c == '.';
                ensure!(path.chars().all(simple), "only names and dots are supported in a path");
                self.expect(")")?;
                Ok(Expression::Path(format!("/{}", path.replace('.', "/"))))
            }
            "util" if self.take(".urlEncode(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(Expression::UrlEncoded(Box::new(inner)))
            }
            "context" => self.field().map(Expression::Field),
            name => match self.variables.iter().position(|known| known == name) {
                Some(variable) => Ok(Expression::Variable(variable)),
                None => bail!("unknown reference ${name}"),
            },
        }
    }

    fn field(&mut self) -> Result<Field> {
        const FIELDS: [(&str, Field); 6] = [
            (".extendedRequestId", Field::ExtendedRequestId),
            (".requestTimeEpoch", Field::RequestTimeEpoch),
            (".xrayTraceId", Field::XrayTraceId),
            (".authorizer.claims.sub", Field::Subject),
            (".error.messageString", Field::ErrorMessageString),
            (".error.validationErrorString", Field::ValidationErrorString),
        ];
        for (name, field) in FIELDS {
            if begins_with_word(self.rest(), name) {
                self.at += name.len();
                return Ok(field);
            }
        }
        bail!("unknown $context variable")
    }
}

fn starts_with_letter(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether `text` starts with `word`, and the word ends there.
fn begins_with_word(text: &str, word: &str) -> bool {
    let after = text.strip_prefix(word);
    after.is_some_and(|after| {
        !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixed(field: Field) -> Option<Cow<'static, str>> {
        match field {
            Field::ExtendedRequestId => Some("Xk+/=".into()),
            Field::RequestTimeEpoch => Some("1700000000000".into()),
            Field::Subject => Some("a user".into()),
            Field::XrayTraceId | Field::ErrorMessageString | Field::ValidationErrorString => None,
        }
    }

    #[test]
    fn templates_render_as_velocity_renders_them() {
        let json = json!({ "a": { "b": "deep", "n": 1.50, "none": null, "empty": "" } });
        let body = r#"{"x":"&+% $input #set '"}"#;
        let cases = [
            ("plain $ text # 5 $5 #8 {}", "plain $ text # 5 $5 #8 {}"),
            ("$input.body", body),
            ("$util.urlEncode($input.body)", "%7B%22x%22%3A%22%26%2B%25+%24input+%23set+%27%22%7D"),
            ("$util.urlEncode($context.extendedRequestId)", "Xk%2B%2F%3D"),
            ("$context.extendedRequestId\",", "Xk+/=\","),
            ("$util.urlEncode(\"t=$context.requestTimeEpoch;\")", "t%3D1700000000000%3B"),
            ("$input.path('$.a.b')", "deep"),
            ("$input.path('$.a.n')", "1.5"),
            // A null is printed as it is written.
            (
                "$input.path('$.a.none')|$context.xrayTraceId",
                "$input.path('$.a.none')|$context.xrayTraceId",
            ),
            ("#set($v = $input.path('$.a.b'))$v.", "deep."),
            ("#set($v = 'a')#set($v = 'b')$v", "b"),
            ("#if($context.xrayTraceId)y#else$context.requestTimeEpoch#end!", "1700000000000!"),
            ("#if($context.xrayTraceId.matches('.*'))y#end", ""),
            ("#if($context.requestTimeEpoch.matches('[0-9]'))y#else n#end", " n"),
            ("#if($input.path('$.a.empty') != '')y#else#if($input.body)m#end#end", "m"),
            ("#if($input.body && $input.path('$.x') && $input.body)y#else n#end", " n"),
        ];
        for (template, expected) in cases {
            let known = Template::parse(template).expect(template);
            let rendered = known.render(Input { body, json: &json }, &fixed);
            assert_eq!(rendered.text, expected, "{template}");
        }
    }

    #[test]
    fn only_the_branch_that_is_taken_sets_the_status() {
        let template =
            "#if($context.xrayTraceId)a#else#set($context.responseOverride.status = 500)b#end";
        let template = Template::parse(template).expect("a known template");
        let rendered = template.render(Input { body: "", json: &Value::Null }, &fixed);
        let status = Some(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(rendered, Rendered { text: "b".to_owned(), status });
    }

    #[test]
    fn what_is_not_known_is_an_error_when_the_template_is_read() {
        let cases = [
            "$foo",
            // A hyphen belongs to a name.
            "#set($v = 'x')$v-x",
            "#if($input.body)y#{else}n#end",
            "$!context.extendedRequestId",
            "${context.extendedRequestId}",
            "$context.requestId",
            "$context.extendedRequestIds",
            "$context.xrayTraceId.length()",
            "$input.json('$')",
            "$input.path('$')",
            "$input.path('$.a[0]')",
            "$input.params('x')",
            "$util.escapeJavaScript($input.body)",
            "$util.urlEncode($input.body",
            "#foreach($x in $y)#end",
            "#elseif($input.body)",
            "#end",
            "#else",
            "#if($input.body)",
            "#if($input.body)#elseif($input.body)#end",
            "#if(!$input.body)#end",
            "#if($input.body == 'x')#end",
            "#if($input.body || $input.body)#end",
            "#set($input = 'x')",
            "#set($context.responseOverride.status = x)",
            "#set($context.responseOverride.header.x = 'x')",
            "#set($x = \"#if(\")",
            "#set($x='y')",
            "## comment",
            "#* comment *#",
            "#[[ raw ]]#",
            "#@macro()",
            "a\nb",
            "a\\$b",
        ];
        for template in cases {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        for template in ["$input.body", "#set($x = 'y')", "#if($context.xrayTraceId)#end"] {
            assert!(Template::parse_plain(template).is_err(), "{template}");
        }
    }
}
