//! Which role a file is for.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::document::{self, Node, Placed, Position};
use crate::section::{Findings, Section};
use crate::value::choice;
use crate::{BackendSettings, GatewaySettings, Problem, Problems, RouterSettings};

/// What one process of the mesh does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Faces devices.
    Gateway,
    /// Has custody of commands.
    Router,
    /// The embedded AMQP broker.
    Backend,
}

/// A file that was read and found good.
#[derive(Debug, Clone, PartialEq)]
pub enum Settings {
    /// `role: gateway`; boxed, since it is much larger than the others.
    Gateway(Box<GatewaySettings>),
    /// `role: router`
    Router(RouterSettings),
    /// `role: backend`
    Backend(BackendSettings),
}

const ROLES: [(&str, Role); 3] =
    [("gateway", Role::Gateway), ("router", Role::Router), ("backend", Role::Backend)];

impl Role {
    /// The word after `role:`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Router => "router",
            Self::Backend => "backend",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Settings {
    /// Reads a file; its problems are named with `path` as it is given.
    ///
    /// # Errors
    /// [`Problems`] holds everything that is wrong, or that the file cannot be read.
    pub fn load(path: &Path, expected: Option<Role>) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let read = || -> std::io::Result<String> {
            let mut text = String::new();
            // One byte more than is allowed is enough to see that it is too long.
            File::open(path)?.take(document::FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) => Self::read_as(&file, &text, expected),
            Err(error) => {
                let problem = Problem { at: Position::START, message: format!("cannot be read: {error}") };
                Err(Problems::new(&file, vec![problem]))
            }
        }
    }

    /// Reads the text of a file, of whichever role its top-level `role:` names. `file` names it in the problems.
    ///
    /// # Errors
    /// [`Problems`] holds everything that is wrong.
    pub fn read(file: &str, text: &str) -> Result<Self, Problems> {
        Self::read_as(file, text, None)
    }

    /// As [`Settings::read`]; another role than `expected` is a problem.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn read_as(file: &str, text: &str, expected: Option<Role>) -> Result<Self, Problems> {
        let (tree, mut problems) = document::read(text);
        let findings = Findings::default();
        let settings = tree.as_ref().and_then(|tree| read(&findings, tree, expected));
        problems.extend(findings.into_problems());
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => {
                debug_assert!(!problems.is_empty(), "what is missing is a problem");
                Err(Problems::new(file, problems))
            }
        }
    }
}

fn read(findings: &Findings, tree: &Placed<Node>, expected: Option<Role>) -> Option<Settings> {
    let mut root = Section::of(findings, tree);
    let role = match (root.optional("role", choice(&ROLES)), expected) {
        (Some(role), Some(expected)) if role != expected => {
            root.say(
                "role",
                format!("this is the file of a {role}, and `roost {expected}` reads one of a {expected}"),
            );
            role
        }
        (Some(role), _) => role,
        (None, expected) => {
            if !root.has("role") {
                root.say("role", missing(&root, expected));
            }
            expected?
        }
    };
    match role {
        Role::Gateway => GatewaySettings::read(root).map(|it| Settings::Gateway(Box::new(it))),
        Role::Router => RouterSettings::read(root).map(Settings::Router),
        Role::Backend => BackendSettings::read(root).map(Settings::Backend),
    }
}

/// Without a role nobody knows which keys there are; so that none is overlooked they are named.
fn missing(root: &Section<'_>, expected: Option<Role>) -> String {
    match expected {
        Some(expected) => format!("is missing; write `role: {expected}`"),
        None => {
            let unchecked = root.keys().take(8).collect::<Vec<_>>().join(", ");
            let unchecked =
                if unchecked.is_empty() { String::new() } else { format!(" (not checked: {unchecked})") };
            format!("is missing; it says what else may be here, and is gateway, router or backend{unchecked}")
        }
    }
}

#[cfg(test)]
mod tests;
