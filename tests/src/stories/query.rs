//! What a client is told of its payments, and what nobody is told of others'.

use std::collections::BTreeSet;

use futures::future::join;
use libtest_mimic::Trial;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::trials;
use crate::stack::{Stack, md5_of, until};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        a_stored_payment_is_shown_as_it_was_submitted,
        a_refused_submission_says_why,
        a_held_payment_says_so_until_it_is_sent_back,
        an_unknown_payment_says_when_to_ask_again,
        a_waiting_client_is_told_as_soon_as_the_payment_is_stored,
        an_answer_that_the_client_has_is_not_sent_again,
        payments_are_listed_newest_first_page_by_page,
        payments_are_listed_by_status_and_days,
        a_wrong_parameter_is_named,
        a_broken_table_is_said_to_be_unavailable,
        nobody_learns_of_another_users_payment,
        nobody_lists_another_users_payments,
    ]
}

/// An answer of the API.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The error's code, and the parameter at fault.
    fn error(&self) -> (u16, &str, &str) {
        let text = |name: &str| self.body[name].as_str().unwrap_or_default();
        assert_eq!(text("requestId"), self.header("x-amz-apigw-id"), "{}", self.body);
        (self.status, text("code"), text("field"))
    }
}

/// A user with a token of its own.
struct User {
    id: String,
    token: String,
}

impl Stack {
    /// Asks with these headers.
    async fn ask_with(&self, token: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http().get(format!("{}{path}", self.at("api")));
        request = request.header("authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, headers, body }
    }

    async fn ask_as(&self, token: &str, path: &str) -> Answer {
        self.ask_with(token, path, &[]).await
    }

    /// Asks as the demo user.
    async fn ask(&self, path: &str) -> Answer {
        self.ask_as(self.at("token"), path).await
    }

    /// What became of a payment of the demo user, as soon as there is an outcome.
    async fn outcome(&self, payment: &Value) -> Value {
        let answer = self.ask(&format!("{}?wait=25", path_of(payment))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Submits payments one after the other, each of them stored; their ids.
    async fn submit_and_store(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let payment = self.payment();
            self.submit(&payment).await;
            assert_eq!(self.outcome(&payment).await["status"], "stored");
            ids.push(payment["paymentId"].as_str().unwrap().to_owned());
        }
        ids
    }

    /// All payments of a list, page by page, with the sizes of the pages.
    async fn pages(&self, token: &str, query: &str) -> (Vec<Value>, Vec<usize>) {
        let (mut payments, mut sizes, mut cursor) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = self.ask_as(token, &format!("/payments?{query}{cursor}")).await;
            assert_eq!(page.status, 200, "{}", page.body);
            let listed = page.body["payments"].as_array().unwrap();
            sizes.push(listed.len());
            payments.extend(listed.iter().cloned());
            match page.body["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (payments, sizes),
            }
        }
    }

    async fn user(&self) -> User {
        let id = Uuid::new_v4().to_string();
        let token = self.token(&["--user", &id]).await;
        User { id, token }
    }
}

fn path_of(payment: &Value) -> String {
    format!("/payments/{}", payment["paymentId"].as_str().unwrap())
}

fn ids_of(payments: &[Value]) -> Vec<&str> {
    payments.iter().map(|payment| payment["paymentId"].as_str().unwrap()).collect()
}

async fn a_stored_payment_is_shown_as_it_was_submitted() {
    let stack = Stack::start().await;
    let mut payment: Value =
        serde_json::from_str(include_str!("../../fixtures/payment-v1.json")).unwrap();
    payment["paymentId"] = json!(Uuid::new_v4().to_string());
    payment["userId"] = json!(stack.at("userId"));
    let accepted = stack.submit(&payment).await;
    let outcome = stack.outcome(&payment).await;
    assert_eq!(outcome["status"], "stored");
    assert_eq!(outcome["requestId"], accepted.request_id);
    assert_eq!(outcome["bodyMd5"], md5_of(&payment.to_string()));
    assert_eq!(outcome["payment"], payment);
    assert_eq!(outcome["otherAttempts"], Value::Null);
    // What only a newer gateway lets in, its numbers by value.
    let newer = include_str!("../../fixtures/payment-from-newer-gateway.json");
    let user = serde_json::from_str::<Value>(newer).unwrap()["userId"].clone();
    let user = user.as_str().unwrap();
    stack.send(newer, &[("sub", user), ("schemaVersion", "2")]).await;
    let newer: Value = serde_json::from_str(newer).unwrap();
    let token = stack.token(&["--user", user]).await;
    let answer = stack.ask_as(&token, &format!("{}?wait=25", path_of(&newer))).await;
    assert_eq!(answer.body["payment"], newer);
}

async fn a_refused_submission_says_why() {
    let stack = Stack::start().await;
    let mut payment = stack.payment();
    payment["amount"] = json!("10.505");
    let refused = stack.submit(&payment).await;
    let outcome = stack.outcome(&payment).await;
    assert_eq!(outcome["status"], "refused");
    assert_eq!(outcome["requestId"], refused.request_id);
    assert_eq!(outcome["reason"], "invalid");
    assert_eq!(outcome["fields"], json!(["amount"]));
    assert!(outcome["message"].as_str().unwrap().starts_with("amount must"), "{outcome}");
    assert!(outcome["decidedAt"].as_str() >= outcome["acceptedAt"].as_str());
    assert_eq!(outcome["payment"], Value::Null);
    // Corrected under the same id, it is stored, and then contradicted.
    payment["amount"] = json!("10.50");
    let stored = stack.submit(&payment).await;
    stack.stored(&payment).await;
    let mut other = payment.clone();
    other["amount"] = json!("10.51");
    let conflicting = stack.submit(&other).await;
    stack.record_of(&conflicting.request_id).await;
    let outcome = stack.outcome(&payment).await;
    assert_eq!((&outcome["status"], &outcome["payment"]), (&json!("stored"), &payment));
    assert_eq!(outcome["requestId"], stored.request_id);
    let others = outcome["otherAttempts"].as_array().unwrap();
    let reasons: Vec<_> =
        others.iter().map(|other| (&other["reason"], &other["requestId"])).collect();
    let (conflict, invalid) = (json!("conflict"), json!("invalid"));
    let requests = (json!(conflicting.request_id), json!(refused.request_id));
    assert_eq!(reasons, [(&conflict, &requests.0), (&invalid, &requests.1)], "newest first");
    assert_eq!(others[0]["fields"], json!(["amount"]));
}

async fn a_held_payment_says_so_until_it_is_sent_back() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let payment = stack.payment();
    let broken = stack.break_table().await;
    let held = stack.submit(&payment).await;
    stack.record_of(&held.request_id).await;
    stack.mend(broken).await;
    let outcome = stack.outcome(&payment).await;
    assert_eq!(
        (&outcome["status"], &outcome["requestId"]),
        (&json!("held"), &json!(held.request_id))
    );
    let inner = ["reason", "fields", "payment"].map(|name| outcome[name].clone());
    assert_eq!(inner, [Value::Null, Value::Null, Value::Null], "why is no affair of clients");
    let (listed, _) = stack.pages(stack.at("token"), "status=held").await;
    assert_eq!(ids_of(&listed), [payment["paymentId"].as_str().unwrap()]);
    stack.move_dead_letters_back().await;
    stack.stored(&payment).await;
    let outcome = stack.outcome(&payment).await;
    assert_eq!(
        (&outcome["status"], &outcome["requestId"]),
        (&json!("stored"), &json!(held.request_id))
    );
    let (listed, _) = stack.pages(stack.at("token"), "status=held").await;
    assert!(listed.is_empty(), "{listed:?}");
}

async fn an_unknown_payment_says_when_to_ask_again() {
    let stack = Stack::start_with(&["--batching-window", "7"]).await;
    let path = path_of(&stack.payment());
    let answer = stack.ask(&path).await;
    assert_eq!(answer.error(), (404, "not_found", ""));
    assert_eq!(answer.header("retry-after"), "8", "the window, and a second");
    let answer = stack.ask(&format!("{path}?wait=1")).await;
    assert_eq!(answer.error(), (404, "not_found", ""));
}

async fn a_waiting_client_is_told_as_soon_as_the_payment_is_stored() {
    let stack = Stack::start_with(&["--batching-window", "1"]).await;
    let payment = stack.payment();
    let started = std::time::Instant::now();
    let (outcome, accepted) = join(stack.outcome(&payment), stack.submit(&payment)).await;
    assert_eq!(outcome["status"], "stored");
    assert_eq!(outcome["requestId"], accepted.request_id);
    assert!(started.elapsed().as_secs() < 20, "it did not wait for the end");
}

async fn an_answer_that_the_client_has_is_not_sent_again() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    stack.submit(&payment).await;
    stack.outcome(&payment).await;
    for path in [path_of(&payment), "/payments".to_owned()] {
        let first = stack.ask(&path).await;
        let etag = first.header("etag").to_owned();
        assert_eq!((first.status, first.header("cache-control")), (200, "private, no-cache"));
        let ask = async |tag: &str| {
            stack.ask_with(stack.at("token"), &path, &[("if-none-match", tag)]).await
        };
        let again = ask(&etag).await;
        assert_eq!((again.status, again.body.clone()), (304, Value::Null));
        assert_eq!(again.header("etag"), etag);
        assert_eq!(ask("\"other\"").await.status, 200);
    }
    let etag = stack.ask(&path_of(&payment)).await.header("etag").to_owned();
    let mut other = payment.clone();
    other["currency"] = json!("EUR");
    let refused = stack.submit(&other).await;
    stack.record_of(&refused.request_id).await;
    let headers = [("if-none-match", etag.as_str())];
    let changed = stack.ask_with(stack.at("token"), &path_of(&payment), &headers).await;
    assert_eq!(changed.status, 200, "there is news");
    assert_eq!(changed.body["otherAttempts"][0]["reason"], "conflict");
}

async fn payments_are_listed_newest_first_page_by_page() {
    let stack = Stack::start().await;
    let mut expected = stack.submit_and_store(7).await;
    expected.reverse();
    let token = stack.at("token");
    for (query, expected_sizes) in
        [("limit=3", &[3, 3, 1][..]), ("limit=100", &[7]), ("", &[7]), ("limit=1", &[1; 7])]
    {
        let (payments, mut sizes) = stack.pages(token, query).await;
        assert_eq!(ids_of(&payments), expected, "{query}");
        // A full last page cannot know that it is the last one.
        sizes.retain(|size| *size > 0);
        assert_eq!(sizes, expected_sizes, "{query}");
        assert!(payments.iter().all(|payment| payment["payment"]["amount"] == "10.50"));
    }
}

async fn payments_are_listed_by_status_and_days() {
    let stack = Stack::start().await;
    let stored = stack.submit_and_store(1).await;
    let mut refused = Vec::new();
    for _ in 0..3 {
        let mut payment = stack.payment();
        payment["currency"] = json!("XXX");
        stack.submit(&payment).await;
        assert_eq!(stack.outcome(&payment).await["status"], "refused");
        refused.insert(0, payment["paymentId"].as_str().unwrap().to_owned());
    }
    let token = stack.at("token");
    let list = async |query: &str| {
        let (payments, _) = stack.pages(token, query).await;
        payments
    };
    assert_eq!(ids_of(&list("").await), stored);
    assert_eq!(ids_of(&list("status=stored").await), stored);
    assert_eq!(ids_of(&list("status=refused&limit=2").await), refused);
    assert!(list("status=held").await.is_empty());
    let payment = &list("status=refused").await[0];
    assert_eq!((&payment["status"], &payment["fields"]), (&json!("refused"), &json!(["currency"])));
    let today = payment["decidedAt"].as_str().unwrap()[..10].to_owned();
    for (query, found) in [
        (format!("from={today}"), true),
        ("from=2020-01-01&to=2999-12-31".to_owned(), true),
        ("to=2020-01-01".to_owned(), false),
        ("from=2999-12-31".to_owned(), false),
    ] {
        for status in ["stored", "refused"] {
            let listed = list(&format!("status={status}&{query}")).await;
            assert_eq!(!listed.is_empty(), found, "{status} {query}");
        }
    }
}

async fn a_wrong_parameter_is_named() {
    let stack = Stack::start().await;
    let id = path_of(&stack.payment());
    for (path, field) in [
        ("/payments?limit=0", "limit"),
        ("/payments?limit=101", "limit"),
        ("/payments?limit=1&limit=2", "limit"),
        ("/payments?status=lost", "status"),
        ("/payments?from=2026-02-30", "from"),
        ("/payments?from=2026-02-02&to=2026-02-01", "from"),
        ("/payments?cursor=x", "cursor"),
        ("/payments?statsu=held", "statsu"),
        (&format!("{id}?wait=26"), "wait"),
        (&format!("{}?wait=1", id.to_uppercase().replace("PAYMENTS", "payments")), "paymentId"),
        ("/payments/x", "paymentId"),
        ("/payments/%00", "paymentId"),
        ("/payments/..%2f..", "paymentId"),
    ] {
        let answer = stack.ask(path).await;
        assert_eq!(answer.error(), (400, "invalid_parameters", field), "{path}");
    }
}

async fn a_broken_table_is_said_to_be_unavailable() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    stack.submit(&payment).await;
    stack.outcome(&payment).await;
    stack.break_table().await;
    for path in [path_of(&payment), "/payments".to_owned()] {
        let answer = stack.ask(&path).await;
        assert_eq!(answer.error(), (503, "unavailable", ""), "{path}");
        assert_eq!(answer.header("retry-after"), "5");
        assert!(!answer.body.to_string().contains("Table"), "{}", answer.body);
    }
    let logs = stack.logs();
    assert!(logs.contains("table_not_found"), "an operator sees why");
    assert!(!logs.contains(payment["paymentId"].as_str().unwrap()), "and no more than that");
}

/// Every way to ask for a payment of somebody else is answered exactly as for one that is nobody's.
async fn nobody_learns_of_another_users_payment() {
    let stack = Stack::start().await;
    let (mallory, victim) = (stack.user().await, stack.at("userId").to_owned());
    let stored = stack.payment();
    stack.submit(&stored).await;
    let mut refused = stack.payment();
    refused["currency"] = json!("XXX");
    stack.submit(&refused).await;
    let nobodys = stack.payment();
    let etag = {
        stack.outcome(&refused).await;
        stack.outcome(&stored).await;
        stack.ask(&path_of(&stored)).await.header("etag").to_owned()
    };
    let forged = forged_tokens(&mallory, &victim);
    for target in [&stored, &refused] {
        let tricks: Vec<(String, Vec<(&str, &str)>)> = vec![
            (path_of(target), vec![]),
            (path_of(target), vec![("if-none-match", &etag)]),
            (path_of(target), vec![("if-none-match", "*")]),
            (path_of(target), vec![("sub", &victim), ("x-user-id", &victim)]),
            (path_of(target), vec![("x-amzn-oidc-identity", &victim)]),
            (path_of(target), vec![("x-http-method-override", "PUT")]),
            (format!("{}?wait=1", path_of(target)), vec![]),
            (format!("{}?userId={victim}", path_of(target)), vec![]),
            (format!("{}?sub={victim}", path_of(target)), vec![]),
        ];
        for (path, headers) in tricks {
            let of_victim = stack.ask_with(&mallory.token, &path, &headers).await;
            let (victims, nobody) = (path_of(target), path_of(&nobodys));
            let of_nobody = path.replace(&victims, &nobody);
            let of_nobody = stack.ask_with(&mallory.token, &of_nobody, &headers).await;
            assert!([400, 404].contains(&of_victim.status), "{path}");
            assert_eq!(indistinct(&of_victim), indistinct(&of_nobody), "{path} {headers:?}");
        }
        for token in &forged {
            assert_eq!(stack.ask_as(token, &path_of(target)).await.error().0, 401, "{token}");
        }
    }
    // Submitting under the victim's id, or name, brings nothing to light either.
    let mut probe = stored.clone();
    probe["userId"] = json!(mallory.id);
    probe["amount"] = json!("1");
    for user in [&mallory.id, &victim] {
        probe["userId"] = json!(user);
        let answer = stack.put(&mallory.token, probe.to_string()).await;
        assert_eq!(answer.status(), 200);
    }
    stack.drained().await;
    let outcome = stack.ask_as(&mallory.token, &path_of(&stored)).await;
    assert_eq!(outcome.body["status"], "stored", "as a payment of its own");
    assert_eq!(outcome.body["payment"]["amount"], "1");
    assert_eq!(outcome.body["otherAttempts"][0]["reason"], "owner_mismatch");
    let untouched = stack.outcome(&stored).await;
    assert_eq!((&untouched["payment"], &untouched["otherAttempts"]), (&stored, &Value::Null));
}

/// An answer but for what differs with every request.
fn indistinct(answer: &Answer) -> (u16, Vec<String>, Value) {
    let mut body = answer.body.clone();
    body["requestId"] = Value::Null;
    let varying = ["date", "x-amzn-requestid", "x-amz-apigw-id"];
    let headers = answer.headers.iter().filter(|(name, _)| !varying.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    (answer.status, headers.collect(), body)
}

/// Tokens in which the claims of a genuine one are those of another user.
fn forged_tokens(mallory: &User, victim: &str) -> Vec<String> {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
    let parts: Vec<&str> = mallory.token.split('.').collect();
    let claims = String::from_utf8(BASE64.decode(parts[1]).unwrap()).unwrap();
    let claims = BASE64.encode(claims.replace(&mallory.id, victim));
    assert_ne!(claims, parts[1]);
    let none = BASE64.encode(r#"{"typ":"JWT","alg":"none"}"#);
    vec![
        format!("{}.{claims}.{}", parts[0], parts[2]),
        format!("{none}.{claims}.{}", parts[2]),
        format!("{none}.{claims}."),
    ]
}

async fn nobody_lists_another_users_payments() {
    let stack = Stack::start().await;
    let (mallory, victim) = (stack.user().await, stack.at("userId").to_owned());
    let ids = stack.submit_and_store(3).await;
    let mut refused = Vec::new();
    for _ in 0..3 {
        let mut payment = stack.payment();
        payment["currency"] = json!("XXX");
        stack.submit(&payment).await;
        stack.outcome(&payment).await;
        refused.push(payment["paymentId"].as_str().unwrap().to_owned());
    }
    let mut own = stack.payment();
    own["userId"] = json!(mallory.id);
    stack.put(&mallory.token, own.to_string()).await;
    stack.stored(&own).await;
    let secrets: BTreeSet<&String> = ids.iter().chain(&refused).collect();
    let silent = |answer: &Answer| {
        let text = answer.body.to_string();
        assert!(secrets.iter().all(|id| !text.contains(*id)), "{text}");
        assert!(!text.contains(&victim), "{text}");
    };
    for status in ["stored", "refused", "held"] {
        let query = format!("/payments?status={status}");
        let answer = stack.ask_as(&mallory.token, &query).await;
        silent(&answer);
        let own = usize::from(status == "stored");
        assert_eq!(answer.body["payments"].as_array().unwrap().len(), own, "{status}");
        for trick in [format!("&userId={victim}"), format!("&sub={victim}")] {
            let answer = stack.ask_as(&mallory.token, &format!("{query}{trick}")).await;
            assert_eq!(answer.error().0, 400, "{trick}");
            silent(&answer);
        }
        for header in ["sub", "x-user-id", "x-amzn-oidc-identity"] {
            let answer = stack.ask_with(&mallory.token, &query, &[(header, &victim)]).await;
            assert_eq!(answer.status, 200);
            silent(&answer);
        }
    }
    // A cursor is good for its user and its list only.
    for status in ["stored", "refused"] {
        let page = stack.ask(&format!("/payments?limit=1&status={status}")).await;
        let cursor = page.body["cursor"].as_str().unwrap().to_owned();
        let with = async |token: &str, query: &str| {
            let answer = stack.ask_as(token, &format!("/payments?{query}&cursor={cursor}")).await;
            (answer.status, answer.body["field"].as_str().unwrap_or_default().to_owned())
        };
        let query = format!("status={status}");
        let bad = (400, "cursor".to_owned());
        assert_eq!(with(stack.at("token"), &query).await, (200, String::new()));
        assert_eq!(with(&mallory.token, &query).await, bad);
        assert_eq!(with(stack.at("token"), "status=held").await, bad);
        assert_eq!(with(stack.at("token"), &format!("{query}&to=2999-12-31")).await, bad);
    }
    let listed = until("the list is complete", || async {
        let (payments, _) = stack.pages(stack.at("token"), "").await;
        (payments.len() == ids.len()).then_some(payments)
    })
    .await;
    assert!(listed.iter().all(|payment| payment["payment"]["userId"] == victim));
    for token in forged_tokens(&mallory, &victim) {
        assert_eq!(stack.ask_as(&token, "/payments").await.error().0, 401);
    }
}
