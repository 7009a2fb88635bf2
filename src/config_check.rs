//! `roost config check FILE`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use roost_config::Settings;

/// Says on stdout that the file is good, or on stderr everything that is wrong with it.
pub(crate) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    match Settings::load(file, None) {
        Ok(settings) => {
            writeln!(std::io::stdout(), "{}: good, {}", file.display(), summary(&settings))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            writeln!(std::io::stderr(), "{problems}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn summary(settings: &Settings) -> String {
    match settings {
        Settings::Gateway(s) => format!("gateway {} in region {}, MQTT on {}", s.id, s.region, s.listen),
        Settings::Router(s) => format!("router of shard {}, HTTP on {}", s.shard, s.http),
        Settings::Backend(s) => format!("backend, AMQP on {}", s.listen),
    }
}
