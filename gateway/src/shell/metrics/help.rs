//! What the cores' metrics mean, in a sentence each.

/// The meaning of a [`crate::Count::metric`].
pub(super) fn of(metric: &str) -> &'static str {
    let known = MEANINGS.iter().find(|(known, _)| *known == metric);
    debug_assert!(known.is_some(), "{metric} has no meaning");
    known.map_or("", |(_, meaning)| meaning)
}

const MEANINGS: [(&str, &str); 53] = [
    ("connections_opened", "Transport connections taken."),
    ("connects_accepted", "CONNECTs accepted."),
    ("logins", "Clients that have shown who they are by enhanced authentication, by when."),
    ("connects_refused", "CONNECTs refused and connections ended before one, by reason."),
    ("disconnects", "Connections of accepted clients that ended, by reason."),
    ("sessions_ended", "Sessions that ended, by reason."),
    ("sessions_restored", "Sessions that were read from the store after a start."),
    ("store_dropped", "What was in the store of sessions and could not be taken in, by reason."),
    (
        "session_transfers",
        "Sessions that were asked for, since their devices were elsewhere before, by outcome.",
    ),
    ("sessions_given", "Sessions that the router asked for, since their devices are elsewhere, by outcome."),
    ("sessions_dropped", "Sessions that came from another gateway and were dropped, by reason."),
    ("messages_received", "Publishes taken in from clients, by QoS."),
    ("payload_received_bytes", "Bytes of the payloads taken in from clients, by QoS."),
    ("messages_sent", "Publishes and commands written to clients, repeated ones among them, by QoS."),
    ("payload_sent_bytes", "Bytes of the payloads written to clients, by QoS."),
    ("publishes_refused", "Publishes refused, by reason."),
    ("publishes_repeated", "Publishes at QoS 2 that came again and went nowhere."),
    ("pubacks_sent", "PUBACKs sent to publishers."),
    ("pubrecs_sent", "PUBRECs sent to publishers, repeated ones among them."),
    ("publishes_unwanted", "Publishes that no subscriber here and no uplink rule wanted."),
    (
        "publishes_crossed",
        "Publishes that went to other shards of the process, where there may be subscribers.",
    ),
    ("publishes_parked", "Publishes that had to wait before they were routed, by reason."),
    ("events", "Events that the backend has, by where they are there."),
    ("events_spooled", "Events given to the spool."),
    ("spool_dropped", "Events that left the spool without the backend having them, by reason."),
    ("events_dropped", "Events at QoS 0 that were dropped, by reason."),
    ("event_retries", "Events published again, by reason."),
    ("local_deliveries", "Messages handed to local subscribers."),
    (
        "subscribers_stalled",
        "Times that more began to wait for a subscriber that acknowledges nothing than its queue may hold.",
    ),
    ("local_dropped", "Copies for local subscribers that were dropped, by reason."),
    ("shares_handed_on", "Copies that a member of a group has left behind, and that went to another."),
    ("retained_changes", "Retained messages set and deleted, by what happened."),
    ("retained_refused", "Messages that could not be retained, by reason."),
    ("retained_deliveries", "Retained messages handed to new subscribers."),
    ("retained_left_behind", "Subscriptions whose retained messages did not all move with their session."),
    ("wills_ended", "Wills that are kept no more, by outcome."),
    ("broadcasts", "Broadcasts that came from services and other gateways, by outcome."),
    ("broadcasts_waited", "How often broadcasts had to wait for a subscriber that is connected and full."),
    (
        "retained_learned",
        "How often retained broadcasts that may have been missed were asked for, by outcome.",
    ),
    ("broadcasts_dropped", "Broadcasts that came and were dropped, by reason."),
    ("pubacks_ignored", "PUBACKs from clients that were ignored, by reason."),
    (
        "packet_ids_unknown",
        "PUBRECs, PUBRELs and PUBCOMPs from clients that fit nothing here; all but the last are answered.",
    ),
    (
        "commands_dropped",
        "Deliveries of commands that were dropped, since the router sends them again, by reason.",
    ),
    ("commands_taken", "Commands taken in."),
    ("commands_settled", "Commands settled or returned to the router, by outcome."),
    ("lease_lapses", "Leases that lapsed."),
    ("syncs", "Syncs published."),
    ("snapshots", "Snapshots published."),
    ("sightings_dropped", "Sightings not published, since a snapshot replaces them, by reason."),
    ("reports_failed", "Reports that the broker lost or refused, by kind."),
    ("sync_reasons", "Syncs begun for a reason of the gateway itself."),
    ("control_ignored", "Words of a router that were ignored, by reason."),
    ("superseded", "Reports that a newer process has this gateway's id."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_of_the_cores_has_one_meaning() {
        let counted: BTreeSet<&str> = crate::Count::ALL.iter().map(|count| count.metric()).collect();
        let told: BTreeSet<&str> = MEANINGS.iter().map(|(metric, _)| *metric).collect();
        assert_eq!(counted, told);
        assert_eq!(told.len(), MEANINGS.len());
    }
}
