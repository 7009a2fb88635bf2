//! The questions that are open: "which gateway holds this device?". One for a device at a time, with all its commands behind it.
//! The question is what is broadcast, never the command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use roost_wire::{BootTime, Device, GatewayId, QuestionId};

/// Open questions, devices whose turn to be asked for has not come, and answers that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    open: BTreeMap<Device, Question>,
    by_id: BTreeMap<QuestionId, Device>,
    queue: VecDeque<Device>,
    queued: BTreeSet<Device>,
    absent: BTreeMap<Device, Absence>,
    absent_order: VecDeque<(BootTime, Device)>,
    last: QuestionId,
}

/// One open question.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: QuestionId,
    /// Who has not answered.
    pub(crate) waiting: BTreeSet<GatewayId>,
    /// Whether one that was asked was lost before it answered: the device may be there.
    unsure: bool,
}

/// Nobody holds the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Absence {
    /// Until when that is remembered.
    pub(crate) until: BootTime,
    /// Whether somebody who might hold it could not answer.
    pub(crate) unsure: bool,
}

impl Questions {
    pub(crate) fn open(&mut self, device: &Device, waiting: BTreeSet<GatewayId>) -> QuestionId {
        let id = self.draw();
        self.by_id.insert(id, device.clone());
        self.open.insert(device.clone(), Question { id, waiting, unsure: false });
        id
    }

    /// A number that no question has had.
    pub(crate) fn draw(&mut self) -> QuestionId {
        self.last = self.last.next();
        self.last
    }

    pub(crate) fn find(&self, device: &Device) -> Option<&Question> {
        self.open.get(device)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// How many devices wait for their turn.
    pub(crate) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Lets a device wait for its turn. Bounded by the devices that have commands in custody.
    pub(crate) fn enqueue(&mut self, device: &Device) {
        if self.queued.insert(device.clone()) {
            self.queue.push_back(device.clone());
        }
    }

    pub(crate) fn is_queued(&self, device: &Device) -> bool {
        self.queued.contains(device)
    }

    pub(crate) fn dequeue(&mut self) -> Option<Device> {
        let device = self.queue.pop_front()?;
        self.queued.remove(&device);
        Some(device)
    }

    /// The device was seen: the doubt is over. True if there was one.
    pub(crate) fn end(&mut self, device: &Device) -> bool {
        self.absent.remove(device);
        let Some(question) = self.open.remove(device) else { return false };
        self.by_id.remove(&question.id);
        true
    }

    /// A gateway says that it does not hold the device. False if that question is not open or was answered.
    pub(crate) fn absent(&mut self, id: QuestionId, device: &Device, gateway: &GatewayId) -> bool {
        let question = self.open.get_mut(device).filter(|question| question.id == id);
        question.is_some_and(|question| question.waiting.remove(gateway))
    }

    /// A gateway can't answer any more: the devices whose question waits for it.
    pub(crate) fn unanswerable(&mut self, gateway: &GatewayId, unsure: bool) -> Vec<Device> {
        let mut touched = Vec::new();
        for (device, question) in &mut self.open {
            if question.waiting.remove(gateway) {
                question.unsure |= unsure;
                touched.push(device.clone());
            }
        }
        touched
    }

    /// The open questions that wait for a gateway.
    pub(crate) fn waiting_for(&self, gateway: &GatewayId) -> Vec<(QuestionId, Device)> {
        let waits = self.open.iter().filter(|(_, question)| question.waiting.contains(gateway));
        waits.map(|(device, question)| (question.id, device.clone())).collect()
    }

    /// If everybody has answered, the question ends with "nobody", and that is remembered. True if so.
    pub(crate) fn conclude(&mut self, now: BootTime, device: &Device, until: BootTime, max: usize) -> bool {
        let done = self.open.get(device).filter(|question| question.waiting.is_empty());
        let Some(unsure) = done.map(|question| question.unsure) else { return false };
        self.end(device);
        self.purge(now, max);
        self.absent.insert(device.clone(), Absence { until, unsure });
        self.absent_order.push_back((until, device.clone()));
        true
    }

    /// That nobody holds the device, if that is remembered.
    pub(crate) fn absence(&self, now: BootTime, device: &Device) -> Option<Absence> {
        self.absent.get(device).copied().filter(|absence| now < absence.until)
    }

    /// Forgets what is over; and at the bound the oldest, which is then asked for again.
    fn purge(&mut self, now: BootTime, max: usize) {
        while let Some((until, device)) = self.absent_order.front() {
            if *until > now && self.absent_order.len() < max {
                return;
            }
            if self.absent.get(device).is_some_and(|absence| absence.until == *until) {
                self.absent.remove(device);
            }
            self.absent_order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> BootTime {
        BootTime::from_micros(micros)
    }

    fn gateways(names: &[&str]) -> BTreeSet<GatewayId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_question_ends_when_everybody_has_said_absent_and_that_is_remembered_for_a_while() {
        let mut questions = Questions::default();
        let d: Device = "d".parse().unwrap();
        let id = questions.open(&d, gateways(&["g1", "g2"]));
        let [g1, g2] = ["g1", "g2"].map(|name| name.parse().unwrap());
        assert!(questions.absent(id, &d, &g1));
        assert!(!questions.absent(id, &d, &g1), "it has answered");
        assert!(!questions.absent(id.next(), &d, &g2), "another question");
        assert!(!questions.conclude(at(0), &d, at(10), 100));
        assert!(questions.absent(id, &d, &g2));
        assert!(questions.conclude(at(0), &d, at(10), 100));
        assert_eq!(questions.absence(at(9), &d), Some(Absence { until: at(10), unsure: false }));
        assert_eq!(questions.absence(at(10), &d), None);
        assert_eq!(questions.len(), 0);
    }

    #[test]
    fn a_gateway_that_is_lost_leaves_a_doubt() {
        let mut questions = Questions::default();
        let d: Device = "d".parse().unwrap();
        questions.open(&d, gateways(&["g1"]));
        assert_eq!(questions.unanswerable(&"g1".parse().unwrap(), true), std::slice::from_ref(&d));
        assert!(questions.conclude(at(0), &d, at(10), 100));
        assert!(questions.absence(at(1), &d).unwrap().unsure);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut questions = Questions::default();
        for i in 0..50 {
            let d: Device = format!("d{i}").parse().unwrap();
            questions.open(&d, BTreeSet::new());
            assert!(questions.conclude(at(0), &d, at(10), 8));
        }
        assert_eq!(questions.absent.len(), 8);
        assert_eq!(questions.absent_order.len(), 8);
    }
}
