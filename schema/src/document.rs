//! The OpenAPI document and the placeholders in it.
//!
//! Terraform renders the same file with its `templatefile`, so [`render`] knows that syntax and no
//! more of it than the document may use.

use std::collections::BTreeSet;

/// The document as it is committed, with placeholders.
pub const TEXT: &str = include_str!("../payment-api.yaml");

/// The document's edition for clients and their generators, made by `tests/document.rs`.
pub const CLIENT_TEXT: &str = include_str!("../client-api.json");

/// Why a document could not be rendered: somebody edited it, or the values given for it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A placeholder for which no value was given.
    #[error("the document's placeholder {0:?} has no value")]
    Unknown(String),
    /// A value for which the document has no placeholder.
    #[error("the value {0:?} has no placeholder in the document")]
    Unused(String),
    /// A `${` without its `}`.
    #[error("a placeholder of the document is not closed")]
    Unclosed,
    /// A `%{`, which Terraform would take for a directive.
    #[error("the document contains the start of a template directive, which must be written %%{{")]
    Directive,
}

/// Replaces every `${name}` by its value, `$${` by `${` and `%%{` by `%{`, as Terraform's
/// `templatefile` does. Values are inserted as they are.
///
/// # Errors
/// A placeholder without a value, a value without a placeholder, or other template syntax.
pub fn render(text: &str, values: &[(&str, &str)]) -> Result<String, RenderError> {
    let mut rendered = String::with_capacity(text.len());
    let mut unused: BTreeSet<&str> = values.iter().map(|(name, _)| *name).collect();
    let mut rest = text;
    while let Some(brace) = rest.find('{') {
        let (before, after) = (&rest[..brace], &rest[brace + 1..]);
        rest = after;
        if let Some(before) = before.strip_suffix("$$") {
            rendered.push_str(before);
            rendered.push_str("${");
        } else if let Some(before) = before.strip_suffix("%%") {
            rendered.push_str(before);
            rendered.push_str("%{");
        } else if let Some(before) = before.strip_suffix('$') {
            let end = after.find('}').ok_or(RenderError::Unclosed)?;
            let name = &after[..end];
            let value = values.iter().find(|(known, _)| *known == name);
            let (_, value) = value.ok_or_else(|| RenderError::Unknown(name.to_owned()))?;
            unused.remove(name);
            rendered.push_str(before);
            rendered.push_str(value);
            rest = &after[end + 1..];
        } else if before.ends_with('%') {
            return Err(RenderError::Directive);
        } else {
            rendered.push_str(before);
            rendered.push('{');
        }
    }
    rendered.push_str(rest);
    match unused.first() {
        Some(name) => Err(RenderError::Unused((*name).to_owned())),
        None => Ok(rendered),
    }
}

/// The names of the placeholders, for a test that needs a rendered document and does not care for names.
///
/// # Errors
/// As [`render`], except for values.
pub fn placeholders(text: &str) -> Result<Vec<String>, RenderError> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let values: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        match render(text, &values) {
            Ok(_) => return Ok(names),
            Err(RenderError::Unknown(name)) => names.push(name),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_named_once() {
        let names = placeholders("${a} $${b} ${c}${a}").expect("well-formed");
        assert_eq!(names, ["a", "c"]);
        assert_eq!(placeholders("${a"), Err(RenderError::Unclosed));
    }

    #[test]
    fn placeholders_are_replaced_as_templatefile_replaces_them() {
        let values = [("a", "1"), ("b", "${a}")];
        let unknown = |name: &str| Err(RenderError::Unknown(name.to_owned()));
        let unused = |name: &str| Err(RenderError::Unused(name.to_owned()));
        let cases: [(&str, Result<&str, RenderError>); 11] = [
            ("x ${a} y ${b}${a}", Ok("x 1 y ${a}1")),
            ("${a}${b}{8}{}$", Ok("1${a}{8}{}$")),
            ("${a}${b} $${c} %%{if}", Ok("1${a} ${c} %{if}")),
            ("${a}${b}$input.body", Ok("1${a}$input.body")),
            ("ü${a}ü${b}ü", Ok("ü1ü${a}ü")),
            ("${a}${b}${c}", unknown("c")),
            ("${a}${b}${ a }", unknown(" a ")),
            ("${a}${b}${", Err(RenderError::Unclosed)),
            ("${a}${b}%{ if }", Err(RenderError::Directive)),
            ("${a}", unused("b")),
            ("", unused("a")),
        ];
        for (text, expected) in cases {
            assert_eq!(render(text, &values).as_deref(), expected.as_deref(), "{text}");
        }
    }

    #[test]
    fn the_document_has_exactly_the_placeholders_that_terraform_gives() {
        let names = "partition region account_id queue_name gateway_role_arn user_pool_arn \
                     query_payments_arn allowed_origin";
        let values: Vec<(&str, &str)> = names.split_whitespace().map(|name| (name, "v")).collect();
        let rendered = render(TEXT, &values).expect("every placeholder has a value");
        assert!(!rendered.contains("${"));
    }

    #[test]
    fn the_description_fits_into_api_gateways_limit() {
        // API Gateway takes at most 1,024 characters as the description of an API.
        let document: serde_json::Value = yaml_serde::from_str(TEXT).expect("the document is YAML");
        let description = document["info"]["description"].as_str().expect("a description");
        assert!(description.chars().count() <= 1024, "{}", description.chars().count());
    }

    #[test]
    fn the_templates_render_no_white_space_of_their_own() {
        let document: serde_json::Value = yaml_serde::from_str(TEXT).expect("the document is YAML");
        let integration = &document["paths"]["/submit"]["put"]["x-amazon-apigateway-integration"];
        let template = integration["requestTemplates"]["application/json"].as_str();
        let template = template.expect("a request template");
        let template = template.replace(" && ", "");
        assert!(!template.contains(char::is_whitespace), "{template}");
    }
}
