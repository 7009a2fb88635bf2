//! A case: a behaviour, the normative statements that it shows, and where it runs.

use std::pin::Pin;

use roost_harness::{Backend, Mesh};

/// One behaviour.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The statements of MQTT 3.1.1 that it shows; where there are none it does not run in that version.
    pub(crate) v4: &'static [&'static str],
    /// The same of MQTT 5.0.
    pub(crate) v5: &'static [&'static str],
    pub(crate) run: fn(At) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Makes a [`Case`] of an `async fn(At)`.
macro_rules! case {
    ($name:ident, v4: [$($v4:literal),* $(,)?], v5: [$($v5:literal),* $(,)?]) => {
        $crate::case::Case {
            name: stringify!($name),
            v4: &[$($v4),*],
            v5: &[$($v5),*],
            run: |at| Box::pin($name(at)),
        }
    };
}
pub(crate) use case;

/// Where a case runs: the gateway's port, the protocol level, and names that no other case has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) port: u16,
    /// 4 is MQTT 3.1.1, 5 is MQTT 5.0.
    pub(crate) level: u8,
    case: usize,
}

impl At {
    /// A client id of this case.
    pub(crate) fn id(self, name: &str) -> String {
        format!("{}-{name}", self.own())
    }

    /// A topic of this case. It stays in the gateway, which so has nobody to wait for.
    pub(crate) fn topic(self, below: &str) -> String {
        format!("local/{}/{below}", self.own())
    }

    pub(crate) fn is_v5(self) -> bool {
        self.level == 5
    }

    /// The name of this case in ids and topics.
    pub(crate) fn own(self) -> String {
        format!("case{}-{}", self.case, self.level)
    }
}

/// Runs all cases against one gateway.
///
/// # Panics
/// When some do not hold: with their names and the statements that they show.
pub(crate) async fn hold(cases: &[Case]) {
    let mesh = Mesh::start(Backend::Embedded).await;
    let port = mesh.mqtt_port("eu-1");
    let mut running = Vec::new();
    for (case, Case { name, v4, v5, run }) in cases.iter().enumerate() {
        for (level, statements) in [(4, v4), (5, v5)] {
            if !statements.is_empty() {
                running.push((name, level, statements, tokio::spawn(run(At { port, level, case }))));
            }
        }
    }
    let mut broken = Vec::new();
    for (name, level, statements, task) in running {
        if task.await.is_err() {
            broken.push(format!("{name}, level {level}: {}", statements.join(", ")));
        }
    }
    assert!(broken.is_empty(), "these do not hold, for the reasons above:\n{}", broken.join("\n"));
}
