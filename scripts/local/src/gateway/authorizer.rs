//! The Cognito authorizer: who is calling, and may they?
//!
//! A missing, garbled, expired or foreign token, an ID token, and a token without the scope are all
//! answered 401, as users of Cognito's authorizer report it. AWS documents 403 (`ACCESS_DENIED`) for
//! an authorizer that denies access, so the document tells clients to treat both alike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::tokens::{Claims, Verifier};

/// Verified tokens that are remembered: a signature takes longer to check than all the rest.
const REMEMBERED_TOKENS_MAX: usize = 4_096;

/// Checks tokens, and remembers those that were good until they expire.
#[derive(Debug)]
pub(super) struct Authorizer {
    verifier: Verifier,
    verified: Mutex<HashMap<String, Arc<Claims>>>,
}

impl Authorizer {
    /// An authorizer that trusts one issuer.
    pub(super) fn new(verifier: Verifier) -> Self {
        Self { verifier, verified: Mutex::default() }
    }

    /// The claims of the access token in an Authorization header, if it is valid now and has one of
    /// `scopes`; `now` is in seconds since 1970. None says no more than that: API Gateway does not tell the reason either.
    pub(super) fn authorize(
        &self,
        header: Option<&str>,
        scopes: &[String],
        now: u64,
    ) -> Option<Arc<Claims>> {
        // API Gateway takes the token with and without the word.
        let header = header?;
        let token = header.strip_prefix("Bearer ").unwrap_or(header);
        let claims = self.claims(token, now)?;
        let granted = |scope: &String| claims.scope.split(' ').any(|granted| granted == scope);
        scopes.iter().any(granted).then_some(claims)
    }

    fn claims(&self, token: &str, now: u64) -> Option<Arc<Claims>> {
        let remembered = self.remembered().get(token).cloned();
        if let Some(claims) = remembered {
            return (now < claims.exp).then_some(claims);
        }
        let claims = Arc::new(self.verifier.verify(token, now)?);
        let mut verified = self.remembered();
        if verified.len() >= REMEMBERED_TOKENS_MAX {
            verified.retain(|_, claims| now < claims.exp);
        }
        if verified.len() < REMEMBERED_TOKENS_MAX {
            verified.insert(token.to_owned(), Arc::clone(&claims));
        }
        Some(claims)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Claims>>> {
        // A map of whole entries is as good after a panic as before it.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
    use serde_json::json;

    use super::*;
    use crate::tokens::{EXPIRES_IN, Issuer, SCOPES};

    const USER: &str = "0b5f8f3e-52a7-4b83-8f2d-b1f5ad7a9c10";

    struct Fixture {
        key_file: std::path::PathBuf,
        issuer: Issuer,
        authorizer: Authorizer,
        _directory: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        let issuer = Issuer::open(directory.path()).expect("an issuer");
        let authorizer = Authorizer::new(issuer.verifier());
        let key_file = directory.path().join("token-key.der");
        Fixture { key_file, issuer, authorizer, _directory: directory }
    }

    impl Fixture {
        fn check(&self, name: &str, header: Option<&str>, expected: bool) {
            let scopes = ["payments/submit".to_owned()];
            // Twice: the second time, a good one is remembered.
            for _ in 0..2 {
                let claims = self.authorizer.authorize(header, &scopes, get_current_timestamp());
                assert_eq!(claims.is_some(), expected, "{name}");
                assert!(claims.is_none_or(|claims| claims.sub == USER), "{name}");
            }
        }
    }

    type Change = fn(&mut Claims);

    /// What is changed in the claims of a good token, and whether it is still good.
    const CLAIMS: [(&str, Change, bool); 11] = [
        ("nothing", |_| {}, true),
        ("one scope", |claims| claims.scope = "payments/submit".into(), true),
        ("another order", |claims| claims.scope = "payments/read payments/submit".into(), true),
        ("expired", |claims| claims.exp = get_current_timestamp(), false),
        ("another issuer", |claims| claims.iss = "https://example.com".into(), false),
        ("an ID token", |claims| claims.token_use = "id".into(), false),
        ("no user", |claims| claims.sub.clear(), false),
        ("no scope", |claims| claims.scope.clear(), false),
        ("another scope", |claims| claims.scope = "payments/read".into(), false),
        ("a longer scope", |claims| claims.scope = "payments/submit2".into(), false),
        ("a longer path", |claims| claims.scope = "x/payments/submit".into(), false),
    ];

    #[test]
    fn only_an_access_token_with_the_scope_is_let_in() {
        let fixture = fixture();
        for (name, change, expected) in CLAIMS {
            let mut claims = Issuer::claims(USER, SCOPES, EXPIRES_IN);
            change(&mut claims);
            let token = fixture.issuer.sign(Header::new(Algorithm::ES256), &claims);
            fixture.check(name, Some(&token.expect("a token")), expected);
        }
    }

    #[test]
    fn only_a_whole_token_in_its_place_is_let_in() {
        let fixture = fixture();
        let good = fixture.issuer.issue(USER, SCOPES, EXPIRES_IN).expect("a token");
        fixture.check("no header", None, false);
        let cases = [
            ("the token alone", good.clone(), true),
            ("with the word", format!("Bearer {good}"), true),
            ("empty", String::new(), false),
            ("the word alone", "Bearer ".into(), false),
            ("another word", format!("Basic {good}"), false),
            ("a blank too many", format!("Bearer  {good}"), false),
            ("a blank behind", format!("Bearer {good} "), false),
            ("garbled", good.replace('.', ".x"), false),
            ("cut", good[..good.len() - 4].into(), false),
            ("two parts", good.rsplit_once('.').expect("parts").0.into(), false),
            ("not base64", "ä.ö.ü".into(), false),
        ];
        for (name, header, expected) in cases {
            fixture.check(name, Some(&header), expected);
        }
    }

    #[test]
    fn a_forged_token_is_never_let_in() {
        let fixture = fixture();
        let issue = |issuer: &Issuer| issuer.issue(USER, SCOPES, EXPIRES_IN).expect("a token");
        let good = issue(&fixture.issuer);
        let signature = good.rsplit('.').next().expect("a signature");
        let claims = Issuer::claims(USER, SCOPES, EXPIRES_IN);
        let key = std::fs::read(&fixture.key_file).expect("the key");
        let part = |json: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let forged = |algorithm: &str, signature: &str| {
            format!("{}.{}.{signature}", part(json!({ "alg": algorithm })), part(json!(claims)))
        };
        let hs256 = |secret: &[u8]| {
            let key = EncodingKey::from_secret(secret);
            encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token")
        };
        let cases = [
            ("another key", issue(&self::fixture().issuer)),
            ("no algorithm", forged("none", "")),
            ("no algorithm, signed", forged("none", signature)),
            ("an unknown algorithm", forged("None", signature)),
            ("another token's signature", forged("ES256", signature)),
            ("no signature", forged("ES256", "")),
            ("another algorithm's name", forged("RS256", signature)),
            ("HMAC with the key file", hs256(&key)),
            ("HMAC with the public key", hs256(&key[key.len() - 65..])),
            ("HMAC with nothing", hs256(b"")),
        ];
        for (name, token) in cases {
            fixture.check(name, Some(&token), false);
        }
    }

    #[test]
    fn a_remembered_token_still_expires() {
        let directory = tempfile::tempdir().expect("a directory");
        let issuer = Issuer::open(directory.path()).expect("an issuer");
        let authorizer = Authorizer::new(issuer.verifier());
        let token = issuer.issue(USER, SCOPES, EXPIRES_IN).expect("a token");
        let scopes = ["payments/submit".to_owned()];
        let now = get_current_timestamp();
        assert!(authorizer.authorize(Some(&token), &scopes, now).is_some());
        let later = now + EXPIRES_IN.as_secs() + 1;
        assert!(authorizer.authorize(Some(&token), &scopes, later).is_none());
    }
}
