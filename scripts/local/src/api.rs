//! The API: the gateway on the document, with this machine's names in place of the account's.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use gateway::tokens::Verifier;
use gateway::{Functions, Gateway, Invoke, NoAnswer, Options};
use runtime::{Function, InvokeError};

use crate::functions::{FUNCTIONS, Trigger};
use crate::settings::ALLOWED_ORIGIN;

/// The gateway before this queue server and these functions, by their names.
///
/// # Errors
/// The document names something that is not here.
pub fn router(
    verifier: Verifier,
    queues: Router,
    functions: &BTreeMap<&str, Function>,
    options: Options,
) -> anyhow::Result<Router> {
    let behind_routes = |name: &str| functions.get(name).map(invoke);
    let invoked: Functions = FUNCTIONS
        .iter()
        .filter_map(|function| match function.trigger {
            Trigger::Queue(_) => None,
            Trigger::Route { .. } => Some((function.arn(), behind_routes(function.name)?)),
        })
        .collect();
    Ok(Gateway::new(&document()?, verifier, queues, &invoked, options)?.router())
}

/// The document as it would be deployed.
fn document() -> anyhow::Result<String> {
    let named: Vec<(&str, String)> = FUNCTIONS
        .iter()
        .filter_map(|function| match &function.trigger {
            Trigger::Queue(queue) => Some((queue.placeholder?, queue.queue.to_owned())),
            Trigger::Route { placeholder } => Some((*placeholder, function.arn())),
        })
        .collect();
    let mut values = vec![
        ("partition", "aws"),
        ("region", "us-east-1"),
        ("account_id", "000000000000"),
        ("gateway_role_arn", "arn:aws:iam::000000000000:role/local"),
        ("user_pool_arn", "arn:aws:cognito-idp:us-east-1:000000000000:userpool/local"),
        ("allowed_origin", ALLOWED_ORIGIN),
    ];
    values.extend(named.iter().map(|(placeholder, name)| (*placeholder, name.as_str())));
    Ok(schema::document::render(schema::document::TEXT, &values)?)
}

/// The function as the gateway calls it.
fn invoke(function: &Function) -> Invoke {
    let function = function.clone();
    Arc::new(move |event| {
        let function = function.clone();
        Box::pin(async move { function.invoke(event).await.map_err(no_answer) })
    })
}

fn no_answer(error: InvokeError) -> NoAnswer {
    match error {
        InvokeError::Unavailable => NoAnswer::Throttled,
        InvokeError::FunctionError(_)
        | InvokeError::TimedOut { .. }
        | InvokeError::Exited
        | InvokeError::InitFailed(_) => NoAnswer::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_a_function_without_a_free_process_is_throttled() {
        let timed_out = InvokeError::TimedOut { after: Duration::from_secs(28) };
        let cases = [
            (InvokeError::Unavailable, NoAnswer::Throttled),
            (InvokeError::Exited, NoAnswer::Failed),
            (timed_out, NoAnswer::Failed),
        ];
        for (error, expected) in cases {
            assert_eq!(no_answer(error), expected);
        }
    }
}
