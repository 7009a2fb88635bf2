//! What each device says in its CONNECT, made when it connects.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roost_gateway::packet::{BinaryData, Secret, Text};

use super::signer::Signer;
use crate::{Credentials, Login, Plan};

/// Makes logins.
pub(super) enum Logins {
    Nothing,
    Pattern { user_name: String, password: Option<String> },
    Listed { first: u32, each: Vec<(Text, Secret)> },
    Tokens { user_name: String, signer: Box<Signer> },
}

impl Logins {
    /// For devices up to `last`.
    ///
    /// # Errors
    /// What cannot be said in a CONNECT, or signs nothing, in the words of the command line.
    pub(super) fn new(credentials: &Credentials, plan: &Plan, last: u32) -> Result<Self, String> {
        let logins = match credentials {
            Credentials::Nothing => Self::Nothing,
            Credentials::Pattern { user_name, password } => {
                Self::Pattern { user_name: user_name.clone(), password: password.clone() }
            }
            Credentials::Listed { first, each } => {
                let parse = |(user, password): &(String, String)| Some((name(user)?, secret(password)?));
                let each: Option<Vec<_>> = each.iter().map(parse).collect();
                let each = each.ok_or(
                    "--credentials: a user name or password is longer than 65535 bytes or has a zero byte",
                )?;
                Self::Listed { first: *first, each }
            }
            Credentials::Tokens { user_name, tokens } => {
                let signer = Box::new(Signer::new(tokens).map_err(|error| format!("--jwt-key: {error}"))?);
                Self::Tokens { user_name: user_name.clone(), signer }
            }
        };
        // All client ids are of one length, or the last is the longest.
        if logins.of(plan, last).is_none() {
            return Err("--username or --password is longer than 65535 bytes or has a zero byte".to_owned());
        }
        Ok(logins)
    }

    /// The login of a device for a connection that begins now.
    pub(super) fn of(&self, plan: &Plan, device: u32) -> Option<Login> {
        let client_id = plan.client_id(device);
        let fill = |pattern: &String| pattern.replace("{device}", &client_id);
        Some(match self {
            Self::Nothing => Login::default(),
            Self::Pattern { user_name, password } => Login {
                user_name: Some(name(&fill(user_name))?),
                password: match password {
                    Some(password) => Some(secret(&fill(password))?),
                    None => None,
                },
            },
            Self::Listed { first, each } => {
                let (user_name, password) = each.get(device.checked_sub(*first)? as usize)?;
                Login { user_name: Some(user_name.clone()), password: Some(password.clone()) }
            }
            Self::Tokens { user_name, signer } => Login {
                user_name: Some(name(&fill(user_name))?),
                password: Some(secret(&signer.token(&client_id, now()))?),
            },
        })
    }
}

fn name(text: &str) -> Option<Text> {
    Text::parse(text.to_owned()).ok()
}

fn secret(text: &str) -> Option<Secret> {
    BinaryData::parse(text.to_owned().into_bytes()).ok().map(Secret::new)
}

/// Since 1970. A clock before it makes tokens that nobody takes, which is told by whoever refuses them.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
