//! Signs JSON Web Tokens in the compact form of RFC 7515.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;

use crate::Tokens;

/// Makes tokens that differ in nothing but their subject and time.
pub(super) struct Signer {
    key: Key,
    random: SystemRandom,
    ttl_s: u64,
    audience: Option<String>,
    issuer: Option<String>,
}

/// The three algorithms that brokers are set up with.
enum Key {
    Hs256(hmac::Key),
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

impl Signer {
    /// # Errors
    /// Why the key signs nothing.
    pub(super) fn new(tokens: &Tokens) -> Result<Self, String> {
        let random = SystemRandom::new();
        let (audience, issuer) = (tokens.audience.clone(), tokens.issuer.clone());
        Ok(Self { key: Key::read(&tokens.key, &random)?, random, ttl_s: tokens.ttl_s, audience, issuer })
    }

    /// A token for a client, made at a time since 1970.
    pub(super) fn token(&self, client_id: &str, now: Duration) -> String {
        let iat = now.as_secs();
        let claims = Claims {
            sub: client_id,
            iat,
            exp: iat.saturating_add(self.ttl_s),
            aud: self.audience.as_deref(),
            iss: self.issuer.as_deref(),
        };
        let claims = serde_json::to_vec(&claims).expect("texts and numbers are JSON");
        let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, self.key.algorithm());
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(signed.as_bytes(), &self.random);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Key {
    fn read(bytes: &[u8], random: &SystemRandom) -> Result<Self, String> {
        if !bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            // A last line's end belongs to the file and not to the secret.
            let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            return match secret.is_empty() {
                true => Err("the file is empty".to_owned()),
                false => Ok(Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret))),
            };
        }
        let key = PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
            rustls_pki_types::pem::Error::NoItemsFound => {
                "there is no private key in the PEM file".to_owned()
            }
            other => format!("it is no PEM file: {other}"),
        })?;
        let other = "it is neither an RSA key of 2048 bits or more nor one of the curve P-256".to_owned();
        match key {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let elliptic = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, random);
                elliptic
                    .map(Self::Es256)
                    .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Self::Rs256))
                    .map_err(|_| other)
            }
            PrivateKeyDer::Pkcs1(der) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map(Self::Rs256).map_err(|_| other)
            }
            _ => {
                Err("it is in the form SEC 1; `openssl pkcs8 -topk8 -nocrypt` turns it into PKCS #8"
                    .to_owned())
            }
        }
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }

    fn sign(&self, bytes: &[u8], random: &SystemRandom) -> Vec<u8> {
        match self {
            Self::Hs256(key) => hmac::sign(key, bytes).as_ref().to_vec(),
            Self::Es256(key) => key.sign(random, bytes).expect("the system has randomness").as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let signed = key.sign(&RSA_PKCS1_SHA256, random, bytes, &mut signature);
                signed.expect("the signature has the length of the modulus");
                signature
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the signature of RFC 7515, appendix A.1.
    #[test]
    fn hs256_is_that_of_the_specification() {
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = URL_SAFE_NO_PAD.decode(key).unwrap();
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let random = SystemRandom::new();
        let signature = Key::read(&key, &random).unwrap().sign(signed.as_bytes(), &random);
        assert_eq!(URL_SAFE_NO_PAD.encode(signature), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    }

    #[test]
    fn what_signs_nothing_is_refused_with_the_reason() {
        let read = |bytes: &[u8]| Key::read(bytes, &SystemRandom::new()).map(|key| key.algorithm());
        let sec1 = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(read(b"\n").unwrap_err().contains("empty"));
        assert!(read(sec1.as_bytes()).unwrap_err().contains("openssl pkcs8"));
        assert!(read(public.as_bytes()).unwrap_err().contains("no private key"));
        assert!(read(nonsense.as_bytes()).unwrap_err().contains("P-256"));
    }
}
