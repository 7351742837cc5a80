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

mod parser;
mod render;
mod syntax;

use anyhow::{Result, ensure};

use self::render::Values;
pub(crate) use self::render::{Input, Rendered};
pub(crate) use self::syntax::Field;
use self::syntax::{Expression, Node, Piece};

/// A template that has been read, ready to be rendered any number of times.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
    variables: usize,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Anything that is not in the module's table.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (nodes, variables) = parser::parse(text)?;
        Ok(Self { nodes, variables })
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
        render::render(&self.nodes, self.variables, input, values)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use axum::http::StatusCode;
    use serde_json::{Value, json};

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
