//! Takes the place of the user pool on this machine: signs access tokens like Cognito's, and verifies them.
//! The key is kept in the data directory, so tokens outlive a restart. Only the file's owner can read it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::errors::{Error as TokenError, ErrorKind as TokenErrorKind};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp,
};
use p256::elliptic_curve::rand_core::OsRng;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The scopes of the API, those that the document names.
pub const SCOPES: &str = "payments/submit payments/read";
/// How long a token lives unless somebody asks for less: a working day. The deployed ones live minutes.
pub const EXPIRES_IN: Duration = Duration::from_secs(12 * 60 * 60);

const ISSUER: &str = "https://cognito-idp.local.invalid/local_remit";
const CLIENT_ID: &str = "remit-local";
/// The file of the key, inside the data directory.
pub const KEY_FILE: &str = "token-key.der";

/// Signs tokens with a key of its own.
pub struct Issuer {
    signing: EncodingKey,
    verifier: Verifier,
}

/// What a token says, in the claims that Cognito's access tokens have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// Who signed it.
    pub iss: String,
    /// The application that the user signed in with.
    pub client_id: String,
    /// `access`, or `id` for a token that says who somebody is and permits nothing.
    pub token_use: String,
    /// The scopes, separated by blanks.
    pub scope: String,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// When it expires, in seconds since 1970.
    pub exp: u64,
    /// Its id.
    pub jti: String,
}

impl Issuer {
    /// The issuer of a data directory; makes the key when there is none yet.
    ///
    /// # Errors
    /// The key file cannot be read or written, or holds something else.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(KEY_FILE);
        let describe = || format!("the token key {}", path.display());
        let key = match fs::read(&path) {
            Ok(key) => p256::SecretKey::from_pkcs8_der(&key).with_context(describe)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = p256::SecretKey::random(&mut OsRng);
                write_private(&path, key.to_pkcs8_der()?.as_bytes()).with_context(describe)?;
                key
            }
            Err(error) => return Err(error).with_context(describe),
        };
        let public = key.public_key().to_sec1_bytes();
        let verifier = Verifier { key: DecodingKey::from_ec_der(&public) };
        let signing = EncodingKey::from_ec_der(key.to_pkcs8_der()?.as_bytes());
        Ok(Self { signing, verifier })
    }

    /// An access token for a user. `scopes` are separated by blanks, as in [`SCOPES`].
    ///
    /// # Errors
    /// The token cannot be signed: a fault of ours.
    pub fn issue(&self, user: &str, scopes: &str, expires_in: Duration) -> Result<String> {
        self.sign(Header::new(Algorithm::ES256), &Self::claims(user, scopes, expires_in))
    }

    /// What the gateway needs to check this issuer's tokens.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }

    /// The claims of a token issued now.
    pub(crate) fn claims(user: &str, scopes: &str, expires_in: Duration) -> Claims {
        let now = get_current_timestamp();
        Claims {
            sub: user.to_owned(),
            iss: ISSUER.to_owned(),
            client_id: CLIENT_ID.to_owned(),
            token_use: "access".to_owned(),
            scope: scopes.to_owned(),
            iat: now,
            exp: now.saturating_add(expires_in.as_secs()),
            jti: Uuid::new_v4().to_string(),
        }
    }

    pub(crate) fn sign(&self, header: Header, claims: &impl Serialize) -> Result<String> {
        encode(&header, claims, &self.signing).context("signing a token")
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = path.with_extension("new");
    let options = File::options().write(true).create(true).truncate(true).mode(0o600).to_owned();
    let mut file = options.open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fs::rename(&unfinished, path)?)
}

/// Why a token is not accepted. This is for the console of this machine: neither API Gateway nor this
/// gateway tells it to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    /// There is no header with one.
    #[error("there is no Authorization header")]
    Missing,
    /// Not a token, or not a whole one.
    #[error("the Authorization header holds no token, or a damaged one")]
    Unreadable,
    /// Not a token of a pipeline like this one.
    #[error("another issuer made the token")]
    OtherIssuer,
    /// Like one of ours, but not signed by this pipeline.
    #[error(
        "the token is not signed by this pipeline: it belongs to another data directory or to the \
         time before --fresh, or it was changed"
    )]
    OtherKey,
    /// Genuine, but says who somebody is and permits nothing.
    #[error("this is no access token, but perhaps an ID token")]
    NotAnAccessToken,
    /// Genuine once.
    #[error("the token has expired")]
    Expired,
    /// Genuine, but of nobody.
    #[error("the token has no subject")]
    NoSubject,
    /// Genuine, but for something else.
    #[error("the token lacks the scope {0}")]
    LacksScope(String),
}

/// What a token says of itself, true or not.
#[derive(Deserialize)]
struct Said {
    iss: Option<String>,
    token_use: Option<String>,
}

/// Checks the tokens of one issuer.
#[derive(Debug, Clone)]
pub struct Verifier {
    key: DecodingKey,
}

impl Verifier {
    /// The claims of a genuine access token that has not expired at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenFault> {
        let mut validation = Validation::new(Algorithm::ES256);
        // Checked below, against the caller's clock.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        let decoded = decode::<Claims>(token, &self.key, &validation);
        let claims = decoded.map_err(|error| fault_of(&error, token))?.claims;
        if claims.token_use != "access" {
            return Err(TokenFault::NotAnAccessToken);
        }
        if claims.exp <= now {
            return Err(TokenFault::Expired);
        }
        if claims.sub.is_empty() {
            return Err(TokenFault::NoSubject);
        }
        Ok(claims)
    }
}

/// Why a token could not be verified. What it says of itself is believed only here, to word the fault.
fn fault_of(error: &TokenError, token: &str) -> TokenFault {
    let Ok(said) = insecure_decode::<Said>(token) else { return TokenFault::Unreadable };
    let said = said.claims;
    let signed = !matches!(
        error.kind(),
        TokenErrorKind::InvalidSignature | TokenErrorKind::InvalidAlgorithm
    );
    if said.iss.as_deref() != Some(ISSUER) {
        TokenFault::OtherIssuer
    } else if !signed {
        TokenFault::OtherKey
    } else if said.token_use.as_deref() != Some("access") {
        TokenFault::NotAnAccessToken
    } else {
        TokenFault::Unreadable
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_kept_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Issuer::open(directory.path()).expect("a new key");
        let again = Issuer::open(directory.path()).expect("the same key");
        let token = first.issue("a-user", SCOPES, EXPIRES_IN).expect("a token");
        let claims = again.verifier().verify(&token, get_current_timestamp());
        assert_eq!(claims.map(|claims| claims.sub), Ok("a-user".to_owned()));
        let file = fs::metadata(directory.path().join(KEY_FILE)).expect("the key file");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_key_file_is_named_in_the_error() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(KEY_FILE), "").expect("writable");
        let error = Issuer::open(directory.path()).err().expect("no key in the file");
        assert!(format!("{error:#}").contains(KEY_FILE), "{error:#}");
    }
}
