//! The crews of one plan, in this process or in as many others as descriptors ask for.

use roost_wire::BootTime;
use tokio::sync::mpsc;

use super::conductor::FleetError;
use super::orders::{Order, Report};
use super::socket::Connector;
use super::worker::Worker;
use crate::{Credentials, Plan};

/// A process of devices keeps so many descriptors for other things.
const DESCRIPTORS_KEPT: u32 = 200;
/// Reports that wait for their reader, of all crews. Figures that find no room add up at the crew.
const WAITING_MAX: usize = 64;

/// All devices of a plan. Whoever leads them gives orders and reads reports; when it is dropped they go.
#[derive(Debug)]
pub struct Crews {
    workers: Vec<Worker>,
    reports: mpsc::Receiver<(usize, Report)>,
}

impl Crews {
    /// Starts the crews of a plan that was checked: `workers` processes, or as many as the descriptors ask for, and a thread of
    /// this process if one is enough and none was asked for. Devices connect from `at` on.
    ///
    /// # Errors
    /// [`FleetError`]: a worker could not be started, or the transport cannot be meant.
    pub async fn start(
        plan: &Plan,
        credentials: &Credentials,
        workers: Option<u32>,
        (program, arguments): (&std::path::Path, &[String]),
        at: BootTime,
    ) -> Result<Self, FleetError> {
        Connector::new(&plan.transport).map_err(FleetError::Transport)?;
        let (tell, reports) = mpsc::channel(WAITING_MAX);
        let mut started = Vec::new();
        let shares = shares(plan.devices, workers);
        for (number, (first, devices)) in shares.iter().copied().enumerate() {
            let mut worker = match shares.len() == 1 && workers.is_none() {
                true => Worker::here()?,
                false => Worker::process(program, arguments)?,
            };
            let credentials = Box::new(credentials.of_some(first, devices));
            let order = Order::Start { plan: Box::new(plan.clone()), credentials, first, devices, at };
            // An error means that it has ended, which its missing reports tell.
            let _ = worker.orders.send(order).await;
            let (_, no_reports) = mpsc::channel(1);
            let mut heard = std::mem::replace(&mut worker.reports, no_reports);
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(report) = heard.recv().await {
                    if tell.send((number, report)).await.is_err() {
                        return;
                    }
                }
            });
            started.push(worker);
        }
        Ok(Self { workers: started, reports })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// The processes of their own that they are.
    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.workers.iter().filter_map(Worker::pid)
    }

    /// Gives an order to all. One that has ended does not hear it, which its missing reports tell.
    pub async fn order(&self, order: &Order) {
        for worker in &self.workers {
            let _ = worker.orders.send(order.clone()).await;
        }
    }

    /// The next report of any; `None` when all have ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Report> {
        self.reports.recv().await.map(|(_, report)| report)
    }
}

/// First device and number of devices of each worker: as even as can be.
fn shares(devices: u32, workers: Option<u32>) -> Vec<(u32, u32)> {
    let each = descriptors().saturating_sub(DESCRIPTORS_KEPT).max(1);
    let workers = workers.unwrap_or(0).max(devices.div_ceil(each)).clamp(1, devices.max(1));
    let bound = |worker: u32| (u64::from(devices) * u64::from(worker) / u64::from(workers)) as u32;
    (0..workers).map(|worker| (bound(worker), bound(worker + 1) - bound(worker))).collect()
}

/// How many descriptors this process may have.
#[must_use]
pub fn descriptors() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_one_worker() {
        for (devices, workers) in [(1, None), (10, Some(3)), (2, Some(5)), (1_000_000, None), (7, Some(7))] {
            let shares = shares(devices, workers);
            let mut next = 0;
            for (first, many) in &shares {
                assert_eq!(*first, next);
                assert!(*many > 0);
                next += many;
            }
            assert_eq!(next, devices);
        }
        assert_eq!(shares(10, Some(3)).len(), 3);
        assert_eq!(shares(10, None).len(), 1);
    }
}
