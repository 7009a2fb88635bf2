//! Who is let in.

use std::path::PathBuf;

use crate::section::Section;
use crate::value::{boolean, path};

/// `authentication`: what is asked of who connects. A listener of its own will have a section like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationSettings {
    /// `anonymous`: whether a client that names no authentication method is let in. By default as long as no method is configured.
    pub anonymous: bool,
    /// `scram: file`: the users of SCRAM-SHA-256, as `roost user add` writes them. Without it the method is refused with 0x8C.
    pub scram: Option<PathBuf>,
}

impl Default for AuthenticationSettings {
    fn default() -> Self {
        Self { anonymous: true, scram: None }
    }
}

impl AuthenticationSettings {
    pub(crate) fn read(mut s: Section<'_>) -> Self {
        let is_wanted = s.has("scram");
        let mut scram_section = s.section("scram");
        // A section without its file is a mistake: nobody is let in for that.
        let scram = if is_wanted { scram_section.required("file", path) } else { None };
        scram_section.finish();
        let anonymous = s.optional("anonymous", boolean);
        if anonymous == Some(false) && !is_wanted {
            s.say("anonymous", "nobody could connect: no method is configured, for example `scram: file`");
        }
        s.finish();
        Self { anonymous: anonymous.unwrap_or(!is_wanted), scram }
    }
}

#[cfg(test)]
mod tests {
    use crate::{AuthenticationSettings, Settings};

    fn read(yaml: &str) -> Result<AuthenticationSettings, String> {
        let text = format!("role: gateway\nid: eu-1\nregion: eu\n{yaml}");
        match Settings::read("f", &text) {
            Ok(Settings::Gateway(gateway)) => Ok(gateway.authentication),
            Ok(_) => panic!("it says that it is a gateway's"),
            Err(problems) => Err(problems.to_string()),
        }
    }

    #[test]
    fn who_is_let_in_without_a_method_depends_on_whether_there_is_one() {
        let users = Some("/etc/roost/users".into());
        for (yaml, anonymous, scram) in [
            ("", true, None),
            ("authentication:\n", true, None),
            ("authentication: {scram: }\n", true, None),
            ("authentication: {anonymous: true}\n", true, None),
            ("authentication: {scram: {file: /etc/roost/users}}\n", false, users.clone()),
            ("authentication: {anonymous: true, scram: {file: /etc/roost/users}}\n", true, users),
        ] {
            assert_eq!(read(yaml), Ok(AuthenticationSettings { anonymous, scram }), "{yaml}");
        }
    }

    #[test]
    fn a_mistake_lets_nobody_in() {
        for (yaml, said) in [
            ("authentication: {scram: {}}\n", "f:4:25: file is missing; it has no default"),
            ("authentication: {scram: {file: }}\n", "f:4:25: file is missing; it has no default"),
            ("authentication: {scram: {file: \"\"}}\n", "file: is empty"),
            ("authentication: {scram: users}\n", "expected keys with values"),
            ("authentication: {anonymous: no, scram: {file: a}}\n", "anonymous: expected true or false"),
            ("authentication: {anonymous: false}\n", "f:4:29: anonymous: nobody could connect"),
            ("authentication: {scarm: {file: a}}\n", "did you mean \"scram\""),
        ] {
            let problems = read(yaml).unwrap_err();
            assert!(problems.contains(said), "{yaml}{problems}");
        }
    }
}
