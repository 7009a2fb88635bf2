//! A client's side of SCRAM-SHA-256, by RFC 5802 and nothing of the gateway's.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// One exchange.
pub(super) struct Scram {
    user: String,
    password: String,
    signed: Vec<u8>,
    server_key: Vec<u8>,
}

/// No two exchanges of a real client have the same.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

impl Scram {
    pub(super) fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            signed: Vec::new(),
            server_key: Vec::new(),
        }
    }

    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,n={},r={NONCE}", self.user).into_bytes()
    }

    pub(super) fn last(&mut self, asked: &[u8]) -> Vec<u8> {
        let asked = std::str::from_utf8(asked).expect("it is text");
        let [nonce, salt, iterations] = ["r=", "s=", "i="].map(|name| {
            asked
                .split(',')
                .find_map(|part| part.strip_prefix(name))
                .unwrap_or_else(|| panic!("{name} in {asked}"))
        });
        assert!(nonce.starts_with(NONCE) && nonce.len() > NONCE.len(), "{nonce}");
        let salt = STANDARD.decode(salt).expect("base64");
        let iterations: NonZeroU32 = iterations.parse().expect("a number");
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, self.password.as_bytes(), &mut salted);
        let without_proof = format!("c=biws,r={nonce}");
        self.signed = format!("n={},r={NONCE},{asked},{without_proof}", self.user).into_bytes();
        self.server_key = sign(&salted, b"Server Key");
        let client_key = sign(&salted, b"Client Key");
        let signature = sign(digest::digest(&digest::SHA256, &client_key).as_ref(), &self.signed);
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect();
        format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes()
    }

    /// Whether the server's last word is that of one that knows the password.
    pub(super) fn trusts(&self, last: &[u8]) -> bool {
        last == format!("v={}", STANDARD.encode(sign(&self.server_key, &self.signed))).as_bytes()
    }
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}
