//! What `tests/run` tells the tests about the machine.

use std::path::PathBuf;

/// The value of `name`.
///
/// # Panics
/// When it is not set: the tests were started without `tests/run`. That is a failure, never a skip.
pub(crate) fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: start the tests with tests/run, which sets up what they need")
    })
}

/// A directory of the test's own, removed with its owner.
pub(crate) fn temporary_directory(purpose: &str) -> tempfile::TempDir {
    let parent = std::env::var_os("ROOST_TEST_TMP").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::Builder::new()
        .prefix(&format!("roost-{purpose}-"))
        .tempdir_in(&parent)
        .unwrap_or_else(|error| panic!("no temporary directory in {}: {error}", parent.display()))
}

/// The client scripts, in `tests/e2e/clients`.
pub(crate) fn client_script(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/clients")).join(name)
}

/// How many threads of each gateway serve devices: three, so that most of what devices say to each other crosses from one to another,
/// unless `ROOST_TEST_THREADS` says how many.
pub(crate) fn threads() -> String {
    std::env::var("ROOST_TEST_THREADS").unwrap_or_else(|_| "3".to_owned())
}
