//! Reads a template.

use anyhow::{Context as _, Result, bail, ensure};
use regex::Regex;

use super::syntax::{Condition, Expression, Field, Node, Piece};

/// The parts of a template, and how many variables it has.
///
/// # Errors
/// Anything that is not in the table of the module above.
pub(crate) fn parse(text: &str) -> Result<(Vec<Node>, usize)> {
    ensure!(
        !text.contains(['\n', '\r', '\\']),
        "line breaks and backslashes in a template are not supported"
    );
    let mut parser = Parser { text, at: 0, variables: Vec::new() };
    let nodes = parser.nodes().with_context(|| parser.position())?;
    ensure!(parser.rest().is_empty(), "unexpected directive {}", parser.position());
    Ok((nodes, parser.variables.len()))
}

/// A text, and how much of it is read.
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
