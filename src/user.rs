//! `roost user`: the users of a gateway, in a file.

mod password;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use roost_gateway::authentication::UserName;
use roost_gateway::authentication::scram::{Users, Verifier};
use tempfile::NamedTempFile;

use crate::cli::{AddUserArguments, RemoveUserArguments};

/// Adds a user, or gives one another password.
pub(crate) fn add(arguments: &AddUserArguments) -> anyhow::Result<ExitCode> {
    let AddUserArguments { scram: file, iterations, name } = arguments;
    let name = UserName::parse(name)?;
    let password = password::read()?;
    let salt: [u8; Verifier::SALT_BYTES] = rand::random();
    let verifier = Verifier::of_password(&password, &salt, *iterations)?;
    change(file, |text| {
        // A file that is not there has no users yet.
        let text = Users::with_user(text.unwrap_or_default(), &name, &verifier)?;
        Ok(Some(text))
    })?;
    writeln!(
        io::stdout(),
        "{}: {} is a user; gateways read it when they start",
        file.display(),
        name.as_str()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Takes a user out.
pub(crate) fn remove(arguments: &RemoveUserArguments) -> anyhow::Result<ExitCode> {
    let RemoveUserArguments { scram: file, name } = arguments;
    let name = UserName::parse(name)?;
    let was_there = change(file, |text| {
        let text = text.context("there is no such file")?;
        Ok(Users::without_user(text, &name)?)
    })?;
    ensure!(was_there, "{}: there is no user {}", file.display(), name.as_str());
    writeln!(
        io::stdout(),
        "{}: {} is no user any more; gateways read it when they start",
        file.display(),
        name.as_str()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Puts another text in the place of a file's, if there is to be one, at once: who reads finds the one or the other whole. Nobody but its
/// owner, who stays the same, may read it then. Two who change a file do so one after the other.
fn change(
    file: &Path,
    text: impl FnOnce(Option<&str>) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<bool> {
    let with_file = || file.display().to_string();
    // A link stays one.
    let target = match fs::canonicalize(file) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error).with_context(with_file),
    };
    let directory = directory_of(&target);
    let lock = File::open(&directory).with_context(|| directory.display().to_string())?;
    lock.lock().with_context(|| format!("locking {}", directory.display()))?;
    let old = read(&target).with_context(with_file)?;
    let old_text = old.as_ref().map(|(text, _)| text.as_str());
    let Some(text) = text(old_text).with_context(with_file)? else { return Ok(false) };
    // Mode 0600 from its beginning.
    let mut new = NamedTempFile::new_in(&directory).with_context(with_file)?;
    if let Some((_, owner)) = old.as_ref().filter(|(_, owner)| owner_of(new.as_file()).ok() != Some(*owner)) {
        let (user, group) = *owner;
        fchown(new.as_file(), Some(user), Some(group)).with_context(|| {
            format!("{}: it is another user's, who has to stay its owner", file.display())
        })?;
    }
    new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).with_context(with_file)?;
    new.persist(&target).map_err(|error| error.error).with_context(with_file)?;
    // The directory has the new name on disk as well.
    lock.sync_all().with_context(with_file)?;
    Ok(true)
}

fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// The text of a file and its owner and group; none if there is no such file.
fn read(file: &Path) -> io::Result<Option<(String, (u32, u32))>> {
    let mut file = match File::open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(Some((text, owner_of(&file)?)))
}

fn owner_of(file: &File) -> io::Result<(u32, u32)> {
    file.metadata().map(|metadata| (metadata.uid(), metadata.gid()))
}
