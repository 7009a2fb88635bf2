//! Crews: in a thread of this process, or in a process of their own when one may not have enough descriptors.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::crew::Crew;
use super::orders::{Order, Report};

/// Orders and reports that wait for their reader. Figures that find no room add up at the crew.
const WAITING_MAX: usize = 16;

/// A running crew, wherever it is.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) reports: mpsc::Receiver<Report>,
    /// Killed when it is dropped.
    child: Option<Child>,
}

impl Worker {
    /// A crew in a thread of this process; the thread ends with its orders.
    pub(super) fn here() -> io::Result<Self> {
        let (orders, heard) = mpsc::channel(WAITING_MAX);
        let (tell, reports) = mpsc::channel(WAITING_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("fleet-crew".to_owned())
            .spawn(move || runtime.block_on(Crew::run(heard, tell)))?;
        Ok(Self { orders, reports, child: None })
    }

    /// A crew in a process of its own: `program` with `arguments`, which must end in [`serve`].
    pub(super) fn process(program: &std::path::Path, arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C in the terminal is for whoever leads the workers; they end with their orders.
        command.process_group(0);
        let mut child = command.spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (mut input, output) = pipes.expect("both were asked for");
        let (orders, mut heard) = mpsc::channel::<Order>(WAITING_MAX);
        let (tell, reports) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            while let Some(order) = heard.recv().await {
                if input.write_all(&line(&order)).await.is_err() {
                    return; // the process is gone, which its reports tell
                }
            }
        });
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(report) = serde_json::from_str::<Report>(&line) else { return };
                if tell.send(report).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { orders, reports, child: Some(child) })
    }

    /// The process that it is, if it has one of its own.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }
}

/// What a worker process does: takes orders from its input, one line of JSON each, and writes reports to its output, until
/// either ends. Needs a runtime of one thread.
///
/// # Errors
/// Those of its output.
pub async fn serve() -> io::Result<()> {
    let (orders, heard) = mpsc::channel(WAITING_MAX);
    let (tell, mut reports) = mpsc::channel(WAITING_MAX);
    let reading = async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(order) = serde_json::from_str(&line) else { return };
            if orders.send(order).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        let mut output = tokio::io::stdout();
        while let Some(report) = reports.recv().await {
            output.write_all(&line(&report)).await?;
            output.flush().await?;
        }
        Ok(())
    };
    let reading = tokio::spawn(reading);
    let ((), written) = tokio::join!(Crew::run(heard, tell), writing);
    reading.abort();
    written
}

fn line(message: &impl serde::Serialize) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(message).expect("orders and reports have no maps with keys that are not text");
    line.push(b'\n');
    line
}
