//! How devices say who they are. Apart from the plan, since a plan is printed in reports and these are not.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::Plan;

/// User names and passwords of a fleet. Written for the standard input of a worker and nowhere else; it does not print.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// Devices say nothing.
    #[default]
    Nothing,
    /// The same of all devices; `{device}` in it is the client id.
    Pattern {
        /// The user name.
        user_name: String,
        /// The password or token, if there is one.
        password: Option<String>,
    },
    /// User name and password of each device, by index.
    Listed {
        /// The index of the first one.
        first: u32,
        /// Each.
        each: Vec<(String, String)>,
    },
    /// The password is a token that is made for each connection.
    Tokens {
        /// The user name; `{device}` in it is the client id.
        user_name: String,
        /// What the tokens are.
        tokens: Tokens,
    },
}

/// JSON Web Tokens (RFC 7519): `sub` is the client id, `iat` and `exp` the time of the connection and the end of the life.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// What signs them: a private key as PEM (RS256, or ES256 with the curve P-256), else a secret (HS256).
    pub key: Vec<u8>,
    /// How long they live.
    pub ttl_s: u64,
    /// The `aud` claim.
    pub audience: Option<String>,
    /// The `iss` claim.
    pub issuer: Option<String>,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    client_id: String,
    user: String,
    password: String,
}

impl Credentials {
    /// The largest file: more than a million devices with long passwords.
    pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

    /// Reads CSV (RFC 4180) with the columns `client_id`, `user` and `password` in any order, named by its first line. Lines
    /// of other devices are passed over.
    ///
    /// # Errors
    /// What is wrong with it, or which devices of the plan are not in it; no password is said.
    pub fn read_csv(text: &[u8], plan: &Plan) -> Result<Self, String> {
        let mut found: HashMap<String, (String, String)> = HashMap::new();
        for line in csv::Reader::from_reader(text).into_deserialize::<Line>() {
            let line =
                line.map_err(|error| format!("expected the columns client_id,user,password: {error}"))?;
            if found.contains_key(&line.client_id) {
                return Err(format!("{} is in it twice", line.client_id));
            }
            found.insert(line.client_id, (line.user, line.password));
        }
        let mut each = Vec::new();
        let mut missing = Vec::new();
        for id in (0..plan.devices).map(|device| plan.client_id(device)) {
            match found.remove(&id) {
                Some(pair) => each.push(pair),
                None => missing.push(id),
            }
        }
        match &missing[..] {
            [] => Ok(Self::Listed { first: 0, each }),
            [one] => Err(format!("{one} is not in it")),
            [one, rest @ ..] => Err(format!("{one} and {} more devices are not in it", rest.len())),
        }
    }

    /// Those of some devices: what their worker needs.
    #[must_use]
    pub(crate) fn of_some(&self, first: u32, devices: u32) -> Self {
        match self {
            Self::Listed { first: begin, each } => {
                let some = each.iter().skip((first - begin) as usize).take(devices as usize);
                Self::Listed { first, each: some.cloned().collect() }
            }
            Self::Nothing | Self::Pattern { .. } | Self::Tokens { .. } => self.clone(),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Pattern { .. } => "Pattern(…)",
            Self::Listed { .. } => "Listed(…)",
            Self::Tokens { .. } => "Tokens(…)",
        })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    fn read(text: &str, devices: u32) -> Result<Credentials, String> {
        let mut plan = plan();
        plan.devices = devices;
        Credentials::read_csv(text.as_bytes(), &plan)
    }

    #[test]
    fn each_device_finds_its_own_line_wherever_it_stands() {
        let text = "user,client_id,password\nu1,fleet-000001,\"a,b\"\nu9,other,x\nu0,fleet-000000,p0\n";
        let Credentials::Listed { first: 0, each } = read(text, 2).unwrap() else { panic!("a list") };
        assert_eq!(each, [("u0".to_owned(), "p0".to_owned()), ("u1".to_owned(), "a,b".to_owned())]);
        let second = read(text, 2).unwrap().of_some(1, 1);
        assert_eq!(second, Credentials::Listed { first: 1, each: vec![each[1].clone()] });
    }

    #[test]
    fn what_is_wrong_is_said_without_a_password() {
        let header = "client_id,user,password\n";
        let cases = [
            (format!("{header}fleet-000000,u,hush\n"), "fleet-000001 and 1 more devices are not in it"),
            (format!("{header}fleet-000000,u\n"), "expected the columns client_id,user,password"),
            ("fleet-000000,u,hush\n".to_owned(), "fleet-000000 and 2 more devices are not in it"),
            (format!("{header}a,u,hush\na,u,hush\n"), "a is in it twice"),
            ("client_id,user,password,more\na,u,hush,1\n".to_owned(), "unknown field `more`"),
        ];
        for (text, expected) in cases {
            let said = read(&text, 3).unwrap_err();
            assert!(said.contains(expected) && !said.contains("hush"), "{said:?} for {text:?}");
        }
        let shown = format!("{:?}", read(&format!("{header}fleet-000000,u,hush"), 1));
        assert_eq!(shown, "Ok(Listed(…))");
    }
}
