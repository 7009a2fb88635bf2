//! What a client says in SCRAM, read strictly by the grammar of RFC 5802 §7.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// With the comma behind it: what the final message's `c=` says again.
    pub(super) gs2_header: &'a str,
    pub(super) binding: Binding,
    /// As whom the user wants to act, if it says so.
    pub(super) authorization: Option<String>,
    /// All behind the header; a part of what both sides sign.
    pub(super) bare: &'a str,
    pub(super) user: String,
    pub(super) nonce: &'a str,
}

/// The client's word on channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// It has none (`n`).
    None,
    /// It has one, and believes that the server has none (`y`), which is so.
    NotOffered,
    /// It wants one (`p=`).
    Wanted,
}

/// The client's final message.
#[derive(PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    /// What `c=` says: the header of the first message, and nothing behind it without channel binding.
    pub(super) channel_binding: Vec<u8>,
    pub(super) nonce: &'a str,
    /// A part of what both sides sign.
    pub(super) without_proof: &'a str,
    pub(super) proof: [u8; 32],
}

/// Bound on a message, either one: a name of 256 bytes and a nonce of any client seen fit several times.
pub(super) const MESSAGE_BYTES_MAX: usize = 1_024;

impl<'a> ClientFirst<'a> {
    /// # Errors
    /// What is wrong, for the client to read.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, &'static str> {
        let text = text(message)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authorization), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("the first message is not gs2-header, name and nonce");
        };
        let binding = match flag {
            "n" => Binding::None,
            "y" => Binding::NotOffered,
            _ if flag.strip_prefix("p=").is_some_and(is_binding_name) => Binding::Wanted,
            _ => return Err("the gs2 header begins with none of n, y and p="),
        };
        let authorization = match authorization {
            "" => None,
            text => Some(text.strip_prefix("a=").ok_or("the gs2 header has no a= behind its flag")?),
        };
        let mut attributes = bare.split(',');
        let user = value(&mut attributes, "n=").ok_or("the first message has no n= in its place")?;
        let nonce = value(&mut attributes, "r=").ok_or("the first message has no r= in its place")?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the nonce is not printable ASCII");
        }
        extensions(attributes)?;
        let gs2_header = &text[..text.len() - bare.len()];
        let authorization = authorization.map(sasl_name).transpose()?;
        Ok(Self { gs2_header, binding, authorization, bare, user: sasl_name(user)?, nonce })
    }
}

impl<'a> ClientFinal<'a> {
    /// # Errors
    /// What is wrong, for the client to read.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, &'static str> {
        let text = text(message)?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or("the final message has no p= at its end")?;
        let mut attributes = without_proof.split(',');
        let binding = value(&mut attributes, "c=").ok_or("the final message has no c= in its place")?;
        let nonce = value(&mut attributes, "r=").ok_or("the final message has no r= in its place")?;
        extensions(attributes)?;
        let channel_binding = STANDARD.decode(binding).map_err(|_| "c= is not base64")?;
        let proof = STANDARD.decode(proof).map_err(|_| "p= is not base64")?;
        let proof = proof.try_into().map_err(|_| "the proof has not 32 bytes")?;
        Ok(Self { channel_binding, nonce, without_proof, proof })
    }
}

fn text(message: &[u8]) -> Result<&str, &'static str> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err("the message has more than 1024 bytes");
    }
    let text = std::str::from_utf8(message).map_err(|_| "the message is not UTF-8")?;
    match text.contains('\0') {
        true => Err("the message holds the character U+0000"),
        false => Ok(text),
    }
}

/// The value of the next attribute, if it is this one. The reserved `m=`, which would stand in front of the first one and demands what no
/// version knows, is refused so [RFC 5802 §5.1].
fn value<'a>(attributes: &mut std::str::Split<'a, char>, name: &str) -> Option<&'a str> {
    attributes.next()?.strip_prefix(name)
}

/// Optional extensions are passed over; a mandatory one (`m=`) is refused wherever it stands [RFC 5802 §5.1].
fn extensions<'a>(mut attributes: impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
    let is_extension = |attribute: &str| {
        let mut characters = attribute.chars();
        let name = characters.next().is_some_and(|name| name.is_ascii_alphabetic() && name != 'm');
        name && characters.next() == Some('=') && characters.next().is_some()
    };
    match attributes.all(is_extension) {
        true => Ok(()),
        false => {
            Err("an attribute behind the nonce is none, or a mandatory extension, of which none is supported")
        }
    }
}

/// `=2C` is a comma and `=3D` an equals sign; another `=` fails the authentication [RFC 5802 §5.1].
fn sasl_name(text: &str) -> Result<String, &'static str> {
    let mut pieces = text.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escaped, rest) = match piece {
            _ if piece.starts_with("2C") => (',', &piece[2..]),
            _ if piece.starts_with("3D") => ('=', &piece[2..]),
            _ => return Err("a name has an = that is neither =2C nor =3D"),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    Ok(name)
}

/// [RFC 5802 §7, `cb-name`]
fn is_binding_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn first_messages_are_read() {
        let plain = ClientFirst::parse(b"n,,n=user,r=abc").unwrap();
        assert_eq!((plain.gs2_header, plain.bare, plain.nonce), ("n,,", "n=user,r=abc", "abc"));
        assert_eq!((plain.binding, plain.authorization, plain.user.as_str()), (Binding::None, None, "user"));
        let full = ClientFirst::parse("y,a=o=2Cp,n=\u{FC}=3D=2C=2C,r=a=b,x=1=2".as_bytes()).unwrap();
        assert_eq!((full.gs2_header, full.nonce), ("y,a=o=2Cp,", "a=b"));
        assert_eq!((full.binding, full.authorization.as_deref()), (Binding::NotOffered, Some("o,p")));
        assert_eq!(full.user, "\u{FC}=,,");
        let bound = ClientFirst::parse(b"p=tls-server-end-point,,n=user,r=abc").unwrap();
        assert_eq!((bound.binding, bound.gs2_header), (Binding::Wanted, "p=tls-server-end-point,,"));
    }

    #[test]
    fn malformed_first_messages_are_refused() {
        let long = format!("n,,n=user,r={}", "x".repeat(MESSAGE_BYTES_MAX));
        let cases: [(&[u8], &str); 24] = [
            (b"", "gs2-header"),
            (b"n,", "gs2-header"),
            (b"n=user,r=abc", "gs2-header"),
            (b"N,,n=user,r=abc", "begins with none"),
            (b"p,,n=user,r=abc", "begins with none"),
            (b"p=,,n=user,r=abc", "begins with none"),
            (b"p=a b,,n=user,r=abc", "begins with none"),
            (b"n,n=user,r=abc", "no a="),
            (b"n,a,n=user,r=abc", "no a="),
            (b"n,,", "no n="),
            (b"n,,r=abc,n=user", "no n="),
            (b"n,,m=x,n=user,r=abc", "no n="),
            (b"n,,n=user", "no r="),
            (b"n,,n=user,x=1,r=abc", "no r="),
            (b"n,,n=user,r=", "printable"),
            (b"n,,n=user,r=a b", "printable"),
            ("n,,n=user,r=\u{FC}".as_bytes(), "printable"),
            (b"n,,n=us=er,r=abc", "=2C nor =3D"),
            (b"n,,n=us=2c,r=abc", "=2C nor =3D"),
            (b"n,a=,,n=user=,r=abc", "no n="),
            (b"n,,n=user,r=abc,m=x", "mandatory"),
            (b"n,,n=user,r=abc,", "mandatory"),
            (b"n,,n=us\xffer,r=abc", "UTF-8"),
            (b"n,,n=us\0er,r=abc", "U+0000"),
        ];
        for (message, what) in cases {
            let refused = ClientFirst::parse(message).expect_err(&String::from_utf8_lossy(message));
            assert!(refused.contains(what), "{:?}: {refused}", String::from_utf8_lossy(message));
        }
        assert!(ClientFirst::parse(long.as_bytes()).unwrap_err().contains("1024"));
    }

    #[test]
    fn final_messages_are_read() {
        let text = format!("c=biws,r=abcdef,x=1,p={PROOF}");
        let read = ClientFinal::parse(text.as_bytes()).ok().unwrap();
        assert_eq!((&read.channel_binding[..], read.nonce), (&b"n,,"[..], "abcdef"));
        assert_eq!(read.without_proof, "c=biws,r=abcdef,x=1");
        assert_eq!(STANDARD.encode(read.proof), PROOF);
    }

    #[test]
    fn malformed_final_messages_are_refused() {
        let cases = [
            (String::new(), "no p="),
            ("c=biws,r=abc".to_owned(), "no p="),
            (format!("p={PROOF}"), "no p="),
            (format!("c=biws,r=abc,p={PROOF},x=1"), "base64"),
            (format!("r=abc,c=biws,p={PROOF}"), "no c="),
            (format!("c=biws,p={PROOF}"), "no r="),
            (format!("m=1,c=biws,r=abc,p={PROOF}"), "no c="),
            (format!("c=biws,r=abc,m=1,p={PROOF}"), "mandatory"),
            (format!("c=biw,r=abc,p={PROOF}"), "c= is not base64"),
            ("c=biws,r=abc,p=dHzb".to_owned(), "32 bytes"),
            (format!("c=biws,r=abc,p={}", PROOF.trim_end_matches('=')), "p= is not base64"),
            (format!("c=biws,r=abc,p={}", PROOF.replace("VQ=", "VR=")), "p= is not base64"),
        ];
        for (message, what) in cases {
            let refused = ClientFinal::parse(message.as_bytes()).err().expect(&message);
            assert!(refused.contains(what), "{message}: {refused}");
        }
    }

    /// Bytes that are nearly a message.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("n,".to_owned()),
            Just("y,,".to_owned()),
            Just(",n=".to_owned()),
            Just(",r=".to_owned()),
            Just(",p=".to_owned()),
            Just("c=biws".to_owned()),
            Just("=2C".to_owned()),
            Just("=".to_owned()),
            Just(PROOF.to_owned()),
            any::<String>(),
        ];
        let text = proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat().into_bytes());
        prop_oneof![text, proptest::collection::vec(any::<u8>(), 0..64)]
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(message in nearly()) {
            if let Ok(first) = ClientFirst::parse(&message) {
                let whole = [first.gs2_header, first.bare].concat();
                prop_assert_eq!(whole.as_bytes(), &message[..]);
                prop_assert!(!first.nonce.is_empty() && !first.nonce.contains(','));
            }
            if let Ok(last) = ClientFinal::parse(&message) {
                let whole = format!("{},p={}", last.without_proof, STANDARD.encode(last.proof));
                prop_assert_eq!(whole.as_bytes(), &message[..]);
            }
        }

        #[test]
        fn any_name_is_read_as_it_was_meant(name in "[^\0]{1,40}", nonce in "[!-+--~]{1,40}") {
            let escaped = name.replace('=', "=3D").replace(',', "=2C");
            let message = format!("n,a={escaped},n={escaped},r={nonce}");
            let read = ClientFirst::parse(message.as_bytes()).map_err(TestCaseError::fail)?;
            prop_assert_eq!((read.user.as_str(), read.nonce), (name.as_str(), nonce.as_str()));
            prop_assert_eq!(read.authorization, Some(name));
        }
    }
}
