//! Paths with parameters, and what a request's path, query and headers hold for its operation.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::document::{Location, Parameter};
use crate::rejection::Rejection;
use crate::validation::check_keywords;

/// A path of the document, such as `/payments/{paymentId}`.
#[derive(Debug)]
pub(crate) struct Route {
    /// The path as the document has it.
    pub(crate) resource: String,
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Parameter(String),
}

/// The values in a path, by the names of its parameters.
pub(crate) type PathParameters = BTreeMap<String, String>;

impl Route {
    /// Reads a path.
    ///
    /// # Errors
    /// A parameter that is not a whole segment, or that takes more than one.
    pub(crate) fn new(path: &str) -> Result<Self> {
        let segment = |text: &str| {
            let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            let plain = |text: &str| !text.contains(['{', '}', '+']);
            ensure!(plain(name.unwrap_or(text)), "a path that is not supported: {path}");
            Ok(match name {
                Some(name) => Segment::Parameter(name.to_owned()),
                None => Segment::Text(text.to_owned()),
            })
        };
        let segments = path.split('/').skip(1).map(segment).collect::<Result<_>>()?;
        Ok(Self { resource: path.to_owned(), segments })
    }

    /// The values of the parameters, if a request's path is of this form.
    pub(crate) fn matched(&self, path: &str) -> Option<PathParameters> {
        let given: Vec<&str> = path.split('/').skip(1).collect();
        if given.len() != self.segments.len() {
            return None;
        }
        let mut values = PathParameters::new();
        for (segment, given) in self.segments.iter().zip(given) {
            match segment {
                Segment::Text(text) if text == given => {}
                Segment::Parameter(name) if !given.is_empty() => {
                    let value = percent_decode_str(given).decode_utf8_lossy().into_owned();
                    values.insert(name.clone(), value);
                }
                Segment::Text(_) | Segment::Parameter(_) => return None,
            }
        }
        Some(values)
    }

    /// How many parameters it has: of two that match, API Gateway takes the more literal one.
    pub(crate) fn parameter_count(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Parameter(_))).count()
    }

    /// Checks that exactly the parameters of the path are declared, and that API Gateway would take the
    /// schemas of all.
    ///
    /// # Errors
    /// A parameter that is declared and not there, there and not declared, or has such a schema.
    pub(crate) fn check_declared(&self, parameters: &[Parameter]) -> Result<()> {
        for parameter in parameters {
            check_keywords(&parameter.schema)?;
        }
        let in_path = parameters.iter().filter(|parameter| parameter.location == Location::Path);
        ensure!(in_path.clone().all(|parameter| parameter.required), "an optional path parameter");
        let declared = in_path
            .clone()
            .all(|parameter| self.segments.contains(&Segment::Parameter(parameter.name.clone())));
        let complete = in_path.count() == self.parameter_count();
        ensure!(declared && complete, "the path parameters of {} are not its own", self.resource);
        Ok(())
    }
}

/// The query's parameters, each with its values in order.
pub(crate) fn query_of(query: Option<&str>) -> BTreeMap<String, Vec<String>> {
    let mut values = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        values.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    values
}

/// Checks that every required parameter is there: all that API Gateway checks of them.
///
/// # Errors
/// The names of those that are missing.
pub(crate) fn check_required(
    parameters: &[Parameter],
    query: &BTreeMap<String, Vec<String>>,
    headers: &HeaderMap,
) -> Result<(), Rejection> {
    let is_missing = |parameter: &&Parameter| match parameter.location {
        // Without it the path would be another one.
        Location::Path => false,
        Location::Query => !query.contains_key(&parameter.name),
        Location::Header => !headers.contains_key(&parameter.name),
    };
    let required = parameters.iter().filter(|parameter| parameter.required);
    let missing: Vec<&str> = required.filter(is_missing).map(|one| one.name.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(", ");
    Err(Rejection::InvalidParameters(format!("Missing required request parameters: [{names}]")))
}
