//! The Cognito authorizer: who is calling, and may they?
//!
//! A missing, garbled, expired or foreign token, an ID token, and a token without the scope are all
//! answered 401 alike, as users of Cognito's authorizer report it. AWS documents 403 (`ACCESS_DENIED`) for
//! an authorizer that denies access, so the document tells clients to treat both alike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::tokens::{Claims, TokenFault, Verifier};

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
    /// `scopes`; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// What is wrong, for the log: API Gateway does not tell the client, and neither does this one.
    pub(super) fn authorize(
        &self,
        header: Option<&str>,
        scopes: &[String],
        now: u64,
    ) -> Result<Arc<Claims>, TokenFault> {
        // API Gateway takes the token with and without the word.
        let header = header.ok_or(TokenFault::Missing)?;
        let token = header.strip_prefix("Bearer ").unwrap_or(header);
        let claims = self.claims(token, now)?;
        let granted = |scope: &String| claims.scope.split(' ').any(|granted| granted == scope);
        let permitted = scopes.iter().any(granted);
        permitted.then_some(claims).ok_or_else(|| TokenFault::LacksScope(scopes.join(" or ")))
    }

    fn claims(&self, token: &str, now: u64) -> Result<Arc<Claims>, TokenFault> {
        let remembered = self.remembered().get(token).cloned();
        if let Some(claims) = remembered {
            return (now < claims.exp).then_some(claims).ok_or(TokenFault::Expired);
        }
        let claims = Arc::new(self.verifier.verify(token, now)?);
        let mut verified = self.remembered();
        if verified.len() >= REMEMBERED_TOKENS_MAX {
            verified.retain(|_, claims| now < claims.exp);
        }
        if verified.len() < REMEMBERED_TOKENS_MAX {
            verified.insert(token.to_owned(), Arc::clone(&claims));
        }
        Ok(claims)
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
        fn check(&self, name: &str, header: Option<&str>, expected: Expected) {
            let scopes = ["payments/submit".to_owned()];
            // Twice: the second time, a good one is remembered.
            for _ in 0..2 {
                let claims = self.authorizer.authorize(header, &scopes, get_current_timestamp());
                let user = claims.map(|claims| claims.sub.clone());
                assert_eq!(user, expected.clone().map(|()| USER.to_owned()), "{name}");
            }
        }
    }

    type Expected = Result<(), TokenFault>;
    type Change = fn(&mut Claims);

    fn lacks_scope() -> TokenFault {
        TokenFault::LacksScope("payments/submit".to_owned())
    }

    #[test]
    fn only_an_access_token_with_the_scope_is_let_in() {
        // What is changed in the claims of a good token, and what is wrong then.
        let cases: [(&str, Change, Expected); 11] = [
            ("nothing", |_| {}, Ok(())),
            ("one scope", |claims| claims.scope = "payments/submit".into(), Ok(())),
            (
                "another order",
                |claims| claims.scope = "payments/read payments/submit".into(),
                Ok(()),
            ),
            ("expired", |claims| claims.exp = get_current_timestamp(), Err(TokenFault::Expired)),
            (
                "another issuer",
                |claims| claims.iss = "https://example.com".into(),
                Err(TokenFault::OtherIssuer),
            ),
            (
                "an ID token",
                |claims| claims.token_use = "id".into(),
                Err(TokenFault::NotAnAccessToken),
            ),
            ("no user", |claims| claims.sub.clear(), Err(TokenFault::NoSubject)),
            ("no scope", |claims| claims.scope.clear(), Err(lacks_scope())),
            ("another scope", |claims| claims.scope = "payments/read".into(), Err(lacks_scope())),
            (
                "a longer scope",
                |claims| claims.scope = "payments/submit2".into(),
                Err(lacks_scope()),
            ),
            (
                "a longer path",
                |claims| claims.scope = "x/payments/submit".into(),
                Err(lacks_scope()),
            ),
        ];
        let fixture = fixture();
        for (name, change, expected) in cases {
            let mut claims = Issuer::claims(USER, SCOPES, EXPIRES_IN);
            change(&mut claims);
            let token = fixture.issuer.sign(Header::new(Algorithm::ES256), &claims);
            fixture.check(name, Some(&token.expect("a token")), expected);
        }
    }

    #[test]
    fn only_a_whole_token_in_its_place_is_let_in() {
        use TokenFault::Unreadable;
        let fixture = fixture();
        let good = fixture.issuer.issue(USER, SCOPES, EXPIRES_IN).expect("a token");
        fixture.check("no header", None, Err(TokenFault::Missing));
        let cases = [
            ("the token alone", good.clone(), Ok(())),
            ("with the word", format!("Bearer {good}"), Ok(())),
            ("empty", String::new(), Err(Unreadable)),
            ("the word alone", "Bearer ".into(), Err(Unreadable)),
            ("another word", format!("Basic {good}"), Err(Unreadable)),
            ("a blank too many", format!("Bearer  {good}"), Err(Unreadable)),
            ("a blank behind", format!("Bearer {good} "), Err(Unreadable)),
            ("garbled", good.replace('.', ".x"), Err(Unreadable)),
            ("cut", good[..good.len() - 1].into(), Err(Unreadable)),
            ("two parts", good.rsplit_once('.').expect("parts").0.into(), Err(Unreadable)),
            ("not base64", "ä.ö.ü".into(), Err(Unreadable)),
        ];
        for (name, header, expected) in cases {
            fixture.check(name, Some(&header), expected);
        }
    }

    #[test]
    fn a_forged_token_is_never_let_in() {
        use TokenFault::{OtherKey, Unreadable};
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
            ("another key", issue(&self::fixture().issuer), OtherKey),
            ("no algorithm", forged("none", ""), Unreadable),
            ("no algorithm, signed", forged("none", signature), Unreadable),
            ("an unknown algorithm", forged("None", signature), Unreadable),
            ("another token's signature", forged("ES256", signature), OtherKey),
            ("no signature", forged("ES256", ""), OtherKey),
            ("another algorithm's name", forged("RS256", signature), OtherKey),
            ("HMAC with the key file", hs256(&key), OtherKey),
            ("HMAC with the public key", hs256(&key[key.len() - 65..]), OtherKey),
            ("HMAC with nothing", hs256(b""), OtherKey),
        ];
        for (name, token, fault) in cases {
            fixture.check(name, Some(&token), Err(fault));
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
        assert!(authorizer.authorize(Some(&token), &scopes, now).is_ok());
        let later = now + EXPIRES_IN.as_secs() + 1;
        let expired = authorizer.authorize(Some(&token), &scopes, later).err();
        assert_eq!(expired, Some(TokenFault::Expired));
    }
}
