//! What the core counts: every drop, refusal, retry and disconnection, each with its reason.

use crate::packet::QoS;

/// Declares the counts: `Name => "metric", "reason"`, or `Name => "metric", label "value"`.
macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident => $metric:literal, $($label:ident)? $reason:literal;)*) => {
        /// One thing that is counted. Its metric and reason are the name and the label under which it is exported.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Count {
            $($(#[$doc])* $name,)*
        }

        impl Count {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The metric, without the program's prefix and `_total`.
            #[must_use]
            pub const fn metric(self) -> &'static str {
                match self {
                    $(Self::$name => $metric,)*
                }
            }

            /// The label that [`Count::reason`] is the value of.
            #[must_use]
            pub const fn label(self) -> &'static str {
                let label = match self {
                    $(Self::$name => concat!($(stringify!($label))?),)*
                };
                if label.is_empty() { "reason" } else { label }
            }

            /// The value of [`Count::label`], nearly always a reason; empty for a metric that has none.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $reason,)*
                }
            }
        }
    };
}

counts! {
    /// Transport connections taken.
    Opened => "connections_opened", "";
    /// CONNECTs accepted.
    Connected => "connects_accepted", "";
    /// Clients that have shown who they are before their CONNECT was accepted.
    Authenticated => "logins", when "connect";
    /// Clients that have shown it again since.
    AuthenticatedAgain => "logins", when "again";
    /// Refused: the shard has as many connections as it may.
    RefusedConnections => "connects_refused", "connections_full";
    /// Refused: the shard has as many sessions as it may.
    RefusedSessions => "connects_refused", "sessions_full";
    /// Refused: clients take over this client id from each other again and again.
    RefusedTakeovers => "connects_refused", "takeovers";
    /// Refused: the gateway goes away.
    RefusedDraining => "connects_refused", "draining";
    /// Refused: the spool is full.
    RefusedSpoolFull => "connects_refused", "spool_full";
    /// Refused: the store of sessions can't be written.
    RefusedStoreStuck => "connects_refused", "store_stuck";
    /// Refused: the session is on disk, and no router has said since the start whether it is the device's newest.
    RefusedUndecided => "connects_refused", "session_undecided";
    /// Refused: the client id cannot be a device id.
    RefusedClientId => "connects_refused", "client_id";
    /// Refused: a will that could not be published, for its topic, its payload format or its properties.
    RefusedWill => "connects_refused", "will";
    /// Refused: the wills have as many bytes as they may.
    RefusedWillsFull => "connects_refused", "wills_full";
    /// Refused: an authentication method that is not supported.
    RefusedAuthMethod => "connects_refused", "auth_method";
    /// Refused: no authentication method, and nobody is let in without one.
    RefusedAnonymous => "connects_refused", "anonymous";
    /// Refused: in an authentication something else came than AUTH 0x18 with its method.
    RefusedAuthProtocol => "connects_refused", "auth_protocol";
    /// Refused: a message of an authentication is malformed.
    RefusedAuthMalformed => "connects_refused", "auth_malformed";
    /// Refused: an authentication asks for channel binding.
    RefusedAuthBinding => "connects_refused", "auth_channel_binding";
    /// Refused: an authentication of one user asks to act as another.
    RefusedAuthIdentity => "connects_refused", "auth_identity";
    /// Refused: an authentication of a user that there is not.
    RefusedAuthUser => "connects_refused", "auth_unknown_user";
    /// Refused: an authentication whose password is wrong.
    RefusedAuthPassword => "connects_refused", "auth_wrong_password";
    /// Refused: an authentication was not over within the connect timeout.
    RefusedAuthTimeout => "connects_refused", "auth_timeout";
    /// Refused: the client takes no packet as large as its CONNACK.
    RefusedPacketSize => "connects_refused", "packet_size";
    /// Refused: an MQTT version that is not spoken.
    RefusedVersion => "connects_refused", "version";
    /// Refused: what came first is no valid CONNECT.
    RefusedMalformed => "connects_refused", "malformed";
    /// Refused: no CONNECT within the connect timeout.
    RefusedTimeout => "connects_refused", "timeout";
    /// Refused: the client went away while its CONNECT waited for its session, or in its authentication.
    RefusedLeft => "connects_refused", "left";
    /// Refused: the device connected again while its CONNECT waited for its session.
    RefusedTakenOver => "connects_refused", "taken_over";
    /// Ended: the client said goodbye.
    ClosedByClient => "disconnects", "client";
    /// Ended: the connection broke or was closed without a DISCONNECT.
    ClosedBroken => "disconnects", "connection_lost";
    /// Ended: the device connected again.
    ClosedTakenOver => "disconnects", "taken_over";
    /// Ended: the router says that the device is elsewhere.
    ClosedElsewhere => "disconnects", "elsewhere";
    /// Ended: nothing heard for one and a half times the keep alive.
    ClosedKeepAlive => "disconnects", "keep_alive";
    /// Ended: a packet that is malformed or against the protocol.
    ClosedProtocol => "disconnects", "protocol_error";
    /// Ended: the client used something that is not supported.
    ClosedUnsupported => "disconnects", "unsupported";
    /// Ended: the client authenticated again, and a message of that is malformed.
    ClosedReauthMalformed => "disconnects", "reauth_malformed";
    /// Ended: the client authenticated again, and asks for channel binding.
    ClosedReauthBinding => "disconnects", "reauth_channel_binding";
    /// Ended: the client authenticated again, and asks to act as another user.
    ClosedReauthIdentity => "disconnects", "reauth_identity";
    /// Ended: the client authenticated again, as a user that there is not.
    ClosedReauthUser => "disconnects", "reauth_unknown_user";
    /// Ended: the client authenticated again, with a wrong password.
    ClosedReauthPassword => "disconnects", "reauth_wrong_password";
    /// Ended: the client authenticated again, as another user than before.
    ClosedReauthOtherUser => "disconnects", "reauth_other_user";
    /// Ended: the client began to authenticate again, and was not done in time.
    ClosedReauthTimeout => "disconnects", "reauth_timeout";
    /// Ended: the topics that the client has given aliases are too long together.
    ClosedTopicAliases => "disconnects", "topic_aliases";
    /// Ended: an answer is larger than the client takes.
    ClosedAnswerTooLarge => "disconnects", "answer_too_large";
    /// Ended: a subscription was refused, and MQTT 3.1 has no word for that.
    ClosedSubscription => "disconnects", "subscription_refused";
    /// Ended: more unanswered publishes than the receive maximum, or more ids that wait for PUBREL than may be.
    ClosedReceiveMaximum => "disconnects", "receive_maximum";
    /// Ended: a command was not acknowledged within the settle timeout.
    ClosedSettleTimeout => "disconnects", "settle_timeout";
    /// Ended: the client took nothing while others waited for it.
    ClosedSlow => "disconnects", "slow_consumer";
    /// Ended: the spool is full, and the client may publish no more.
    ClosedSpoolFull => "disconnects", "spool_full";
    /// Ended: the gateway goes away.
    ClosedDraining => "disconnects", "draining";
    /// Sessions that ended because nobody came back in time.
    SessionExpired => "sessions_ended", "expired";
    /// Sessions that ended with their connection or by a clean start.
    SessionClean => "sessions_ended", "clean";
    /// Sessions that ended here since the router had them moved to another gateway.
    SessionMoved => "sessions_ended", "moved";
    /// Sessions that ended here since their device has a newer one elsewhere.
    SessionElsewhere => "sessions_ended", "elsewhere";
    /// Sessions that ended here since nobody could say that they are still their device's newest.
    SessionStale => "sessions_ended", "stale";
    /// Sessions that were read from the store.
    SessionRestored => "sessions_restored", "";
    /// Records of the store that were passed over: this build can't read them.
    StoreUnreadable => "store_dropped", "unreadable";
    /// Subscriptions in the store that there is no room for.
    StoreSubscriptionsFull => "store_dropped", "subscriptions_full";
    /// Sessions asked for: another gateway's came, and its device goes on with it.
    FetchMoved => "session_transfers", outcome "moved";
    /// Sessions asked for: the copy that was here is the newest.
    FetchCurrent => "session_transfers", outcome "current";
    /// Sessions asked for: nobody has one.
    FetchNobody => "session_transfers", outcome "nobody";
    /// Sessions asked for: the gateway that had it is dead.
    FetchOwnerDead => "session_transfers", outcome "owner_dead";
    /// Sessions asked for: the gateway that has it does not move sessions.
    FetchOwnerCannot => "session_transfers", outcome "owner_cannot";
    /// Sessions asked for: the gateway that has it did not answer the router in time.
    FetchOwnerSilent => "session_transfers", outcome "owner_silent";
    /// Sessions asked for: the router moves as many as it may.
    FetchRouterBusy => "session_transfers", outcome "router_busy";
    /// Sessions asked for: the device has asked elsewhere since.
    FetchElsewhere => "session_transfers", outcome "elsewhere";
    /// Sessions asked for: nobody can say which copy is the newest.
    FetchUndecided => "session_transfers", outcome "undecided";
    /// Sessions asked for: no answer in time.
    FetchTimedOut => "session_transfers", outcome "timed_out";
    /// Sessions asked for: what came is not readable here.
    FetchUnreadable => "session_transfers", outcome "unreadable";
    /// Sessions asked for: the device went away, and its session came and is kept.
    FetchKept => "session_transfers", outcome "kept";
    /// Sessions asked for: the device went away, and no session came.
    FetchLeft => "session_transfers", outcome "left";
    /// Sessions asked for: the device connected here again meanwhile.
    FetchSuperseded => "session_transfers", outcome "superseded";
    /// Sessions not asked for: as many are as may be.
    FetchBusy => "session_transfers", outcome "busy";
    /// Sessions not asked for: there is no lease, or no link.
    FetchUnreachable => "session_transfers", outcome "unreachable";
    /// Sessions that came when nobody waited any more, and were dropped.
    FetchLate => "sessions_dropped", "late";
    /// Sessions that came and are more than the gateway may hold.
    FetchSessionsFull => "sessions_dropped", "sessions_full";
    /// Sessions that the router asked for: handed over.
    GivenMoved => "sessions_given", outcome "moved";
    /// Sessions that the router asked for: there is none.
    GivenAbsent => "sessions_given", outcome "absent";
    /// Sessions that the router asked for: its device is connected here in a newer one.
    GivenNewer => "sessions_given", outcome "newer";
    /// Sessions that the router asked for: as many are on their way as may be.
    GivenBusy => "sessions_given", outcome "busy";
    /// Sessions that the router asked for: a publish at QoS 2 is on its way to the backend for too long.
    GivenUnsettled => "sessions_given", outcome "unsettled";
    /// Sessions that the router asked for: too long to be moved.
    GivenTooLarge => "sessions_given", outcome "too_large";
    /// Publishes taken in at QoS 0.
    PublishQos0 => "messages_received", qos "0";
    /// Publishes taken in at QoS 1.
    PublishQos1 => "messages_received", qos "1";
    /// Publishes taken in at QoS 2, each once.
    PublishQos2 => "messages_received", qos "2";
    /// Publishes at QoS 2 that came again before their PUBREL, and went nowhere.
    PublishRepeated => "publishes_repeated", "";
    /// Bytes of the payloads taken in at QoS 0.
    PublishBytesQos0 => "payload_received_bytes", qos "0";
    /// Bytes of the payloads taken in at QoS 1.
    PublishBytesQos1 => "payload_received_bytes", qos "1";
    /// Bytes of the payloads taken in at QoS 2.
    PublishBytesQos2 => "payload_received_bytes", qos "2";
    /// Publishes and commands written to clients at QoS 0.
    WrittenQos0 => "messages_sent", qos "0";
    /// Publishes and commands written to clients at QoS 1, repeated ones among them.
    WrittenQos1 => "messages_sent", qos "1";
    /// Publishes written to clients at QoS 2, repeated ones among them.
    WrittenQos2 => "messages_sent", qos "2";
    /// Bytes of the payloads written at QoS 0.
    WrittenBytesQos0 => "payload_sent_bytes", qos "0";
    /// Bytes of the payloads written at QoS 1.
    WrittenBytesQos1 => "payload_sent_bytes", qos "1";
    /// Bytes of the payloads written at QoS 2.
    WrittenBytesQos2 => "payload_sent_bytes", qos "2";
    /// Publishes refused: the topic is not one that the mesh carries.
    PublishTopicInvalid => "publishes_refused", "topic";
    /// Publishes refused: the topic is below `$SYS`, which is the gateway's own.
    PublishReserved => "publishes_refused", "reserved";
    /// Publishes refused: the payload is not the UTF-8 it says it is.
    PublishPayloadFormat => "publishes_refused", "payload_format";
    /// Publishes refused: topic and properties do not fit AMQP's headers.
    PublishHeadersTooLarge => "publishes_refused", "headers_too_large";
    /// Publishes refused: the spool is full, and the gateway is told to say so.
    PublishSpoolFull => "publishes_refused", "spool_full";
    /// Publishes refused, v5: the queue of a subscriber that is away is full.
    PublishQueueFull => "publishes_refused", "subscriber_queue_full";
    /// PUBACKs sent to publishers.
    PubackSent => "pubacks_sent", "";
    /// PUBRECs sent to publishers, repeated ones among them.
    PubrecSent => "pubrecs_sent", "";
    /// Publishes that nobody wanted: no subscriber here, no rule that carries them.
    PublishUnwanted => "publishes_unwanted", "";
    /// Publishes that waited for a slow subscriber.
    ParkedSubscriber => "publishes_parked", "slow_subscriber";
    /// Publishes that waited for a group whose connected members were all slow.
    ParkedGroup => "publishes_parked", "slow_group";
    /// Publishes that waited because as much as may be was on its way to another shard of the process.
    ParkedShard => "publishes_parked", "busy_shard";
    /// Publishes that waited for room in the uplink.
    ParkedUplink => "publishes_parked", "uplink_full";
    /// Publishes that waited for the spool.
    ParkedSpool => "publishes_parked", "spool_full";
    /// Publishes that waited for the store: sessions were still being read, or too much was on its way to the disk.
    ParkedStore => "publishes_parked", "store";
    /// Waits for an earlier event of its device that the backend refused and that is tried again.
    ParkedRefusal => "publishes_parked", "event_refused";
    /// Events given to the spool.
    EventSpooled => "events_spooled", "";
    /// Events dropped from the spool: older than they may become there.
    SpoolDroppedAge => "spool_dropped", "age";
    /// Events dropped from the spool: their v5 expiry has passed.
    SpoolDroppedExpired => "spool_dropped", "expired";
    /// Records of the spool that were passed over: another build wrote them.
    SpoolUnreadable => "spool_dropped", "unreadable";
    /// Events confirmed by the backend.
    EventConfirmed => "events", "confirmed";
    /// Events that no queue of the backend wanted; they are in `roost.unrouted`.
    EventUnrouted => "events", "unrouted";
    /// Events that the backend refused each time; they are in `roost.dead`.
    EventDead => "events", "dead";
    /// Events dropped, QoS 0: the backend is away.
    EventDroppedAway => "events_dropped", "backend_away";
    /// Events dropped, QoS 0: the uplink's window is full.
    EventDroppedFull => "events_dropped", "uplink_full";
    /// Events dropped, QoS 0: the connection was lost before the confirm.
    EventDroppedLost => "events_dropped", "connection_lost";
    /// Events dropped, QoS 0: the backend refused it.
    EventDroppedNacked => "events_dropped", "nacked";
    /// Publications tried again after a nack.
    EventRetried => "event_retries", "nacked";
    /// Publications tried again since `roost.unrouted` or `roost.dead` has no queue.
    EventRetriedNoQueue => "event_retries", "no_queue";
    /// Messages handed to local subscribers.
    LocalDelivered => "local_deliveries", "";
    /// Local copies dropped, QoS 0: the subscriber's connection is full.
    DroppedConnectionFull => "local_dropped", "connection_full";
    /// Local copies dropped, QoS 0: as much as may be was on its way to another shard of the process.
    DroppedShardBusy => "local_dropped", "shard_busy";
    /// Publishes that went to other shards of the process, for what may be subscribers there.
    Crossed => "publishes_crossed", "";
    /// Clients that acknowledged nothing any more: more than its bounds waits for each from then on, and nobody waits for it.
    SubscriberStalled => "subscribers_stalled", "";
    /// Local copies dropped: the queue of a session that is away is full.
    DroppedQueueFull => "local_dropped", "queue_full";
    /// Local copies dropped: QoS 0 is not kept for a session that is away.
    DroppedOffline => "local_dropped", "offline_qos0";
    /// Local copies dropped: the message's expiry has passed.
    DroppedExpired => "local_dropped", "expired";
    /// Local copies dropped: larger than the client takes. [MQTT-3.1.2-25]
    DroppedTooLarge => "local_dropped", "packet_too_large";
    /// Local copies dropped, QoS 2: the client refused it in its PUBREC.
    DroppedRefused => "local_dropped", "refused_by_client";
    /// Local copies dropped: the session that held them ended, since its device has, or may have, a newer one elsewhere.
    DroppedWithSession => "local_dropped", "session_superseded";
    /// Local copies dropped: the session that moved was too long with them.
    DroppedLeftBehind => "local_dropped", "session_too_large";
    /// Local copies dropped: their session came too late, or there was no room for it.
    DroppedLate => "local_dropped", "session_late";
    /// Local copies dropped: they were sent at QoS 2 to a member of a group whose session has ended. [MQTT-4.8.2-5]
    DroppedShareQos2 => "local_dropped", "share_sent_at_qos_2";
    /// Local copies dropped: no member of a group has room for what another has left with its session, or for a message of which one member
    /// gets more copies than it has room for, being in many groups.
    DroppedShareFull => "local_dropped", "share_queues_full";
    /// Local copies dropped: the session of the last member of a group has ended.
    DroppedShareAlone => "local_dropped", "share_without_member";
    /// Copies that a member of a group has left behind, and that went to another.
    ShareHandedOn => "shares_handed_on", "";
    /// Retained messages set, in the place of others or not.
    RetainedSet => "retained_changes", change "set";
    /// Retained messages deleted: their topic was published to with RETAIN and no payload.
    RetainedDeleted => "retained_changes", change "deleted";
    /// Retained messages deleted: their expiry has passed.
    RetainedExpired => "retained_changes", change "expired";
    /// Retained messages deleted: there was no room for the one that came after, which was not refused.
    RetainedDisplaced => "retained_changes", change "displaced";
    /// Retained broadcasts that changed nothing: a newer one of their topic was here before.
    RetainedStale => "retained_changes", change "stale";
    /// Messages not retained: as many are as may be.
    RetainedMessagesFull => "retained_refused", "messages_full";
    /// Messages not retained: they have as many bytes as they may.
    RetainedBytesFull => "retained_refused", "bytes_full";
    /// Retained messages handed to new subscribers.
    RetainedDelivered => "retained_deliveries", "";
    /// Subscriptions whose retained messages stayed behind, all or some, when their session moved.
    RetainedLeftBehind => "retained_left_behind", "";
    /// Wills published: a connection has ended, and its client did not say goodbye or come back in time.
    WillPublished => "wills_ended", outcome "published";
    /// Wills that ended with their client's goodbye.
    WillDiscarded => "wills_ended", outcome "discarded";
    /// Wills that ended since their client has come back before their delay was over.
    WillResumed => "wills_ended", outcome "resumed";
    /// Wills that ended since their session has moved to another gateway before their delay was over.
    WillMoved => "wills_ended", outcome "moved";
    /// Wills that ended since their device has connected at another gateway.
    WillElsewhere => "wills_ended", outcome "elsewhere";
    /// Wills that ended since their expiry had passed before they could be published.
    WillExpired => "wills_ended", outcome "expired";
    /// Wills that ended with the gateway, whose grace was over.
    WillDraining => "wills_ended", outcome "draining";
    /// Broadcasts of services and of other gateways' devices that a subscriber here took.
    BroadcastDelivered => "broadcasts", outcome "delivered";
    /// Broadcasts that nobody here subscribes to, or nobody who could take them.
    BroadcastUnwanted => "broadcasts", outcome "unwanted";
    /// Broadcasts of devices here that came back: their subscribers had them.
    BroadcastOwn => "broadcasts", outcome "own";
    /// Retained broadcasts of another gateway that were here already, or newer ones.
    BroadcastKnown => "broadcasts", outcome "known";
    /// The retained broadcasts that may have been missed were learned from another gateway.
    Learned => "retained_learned", outcome "learned";
    /// There was no other gateway to learn retained broadcasts from.
    LearnedNobody => "retained_learned", outcome "nobody";
    /// A gateway that was to say which retained broadcasts it has did not answer in time.
    LearnedTimedOut => "retained_learned", outcome "timed_out";
    /// How often broadcasts had to wait for a subscriber that is connected and full.
    BroadcastWaited => "broadcasts_waited", "";
    /// Broadcasts dropped: a header or property is missing or wrong.
    BroadcastInvalid => "broadcasts_dropped", "invalid";
    /// Broadcasts dropped: the topic is below no prefix of this gateway.
    BroadcastTopic => "broadcasts_dropped", "topic";
    /// Broadcasts dropped: longer than a packet may be.
    BroadcastTooLarge => "broadcasts_dropped", "too_large";
    /// Broadcasts dropped: their expiry has passed.
    BroadcastExpired => "broadcasts_dropped", "expired";
    /// Broadcasts dropped: this gateway's queue of them was full, the oldest first.
    BroadcastQueueFull => "broadcasts_dropped", "queue_full";
    /// Broadcasts dropped: as many of them as may be wait here, of links that were lost.
    BroadcastBacklog => "broadcasts_dropped", "backlog";
    /// PUBACKs from clients that fit nothing sent.
    PubackUnknown => "pubacks_ignored", "unknown_packet_id";
    /// PUBRECs from clients that fit nothing sent.
    PubrecUnknown => "packet_ids_unknown", packet "pubrec";
    /// PUBRELs from clients that fit nothing received.
    PubrelUnknown => "packet_ids_unknown", packet "pubrel";
    /// PUBCOMPs from clients that fit nothing released.
    PubcompUnknown => "packet_ids_unknown", packet "pubcomp";
    /// Commands dropped: they came through an earlier link.
    CommandOldLink => "commands_dropped", "old_link";
    /// Commands dropped: they carry another sync number.
    CommandOldSync => "commands_dropped", "sync_number";
    /// Commands not written again: they are in flight on the session.
    CommandRepeated => "commands_dropped", "in_flight";
    /// Commands taken in.
    CommandTaken => "commands_taken", "";
    /// Settled: the device acknowledged.
    CommandDelivered => "commands_settled", "delivered";
    /// Settled: written at QoS 0.
    CommandSent => "commands_settled", "sent";
    /// Settled: no subscription matches.
    CommandNoSubscription => "commands_settled", "no_subscription";
    /// Settled: the session is gone, nothing was written.
    CommandGone => "commands_settled", "gone";
    /// Settled: the session went before it acknowledged.
    CommandGoneWritten => "commands_settled", "gone_written";
    /// Settled: not acknowledged in time.
    CommandTimedOut => "commands_settled", "timed_out";
    /// Settled: the device refused it.
    CommandRefusedDevice => "commands_settled", "refused_by_device";
    /// Settled: larger than the client takes.
    CommandRefusedTooLarge => "commands_settled", "packet_too_large";
    /// Settled: its lifetime ended here.
    CommandExpired => "commands_settled", "expired";
    /// Returned: its hold has ended.
    CommandHoldEnded => "commands_settled", "hold_ended";
    /// Returned: a newer hold is known.
    CommandStaleEpoch => "commands_settled", "stale_epoch";
    /// Returned: the lease has lapsed.
    CommandLeaseLapsed => "commands_settled", "lease_lapsed";
    /// Returned: a bound on commands is reached.
    CommandFull => "commands_settled", "full";
    /// Returned: the gateway goes away.
    CommandDraining => "commands_settled", "draining";
    /// Leases lapsed.
    LeaseLapsed => "lease_lapses", "";
    /// Syncs published.
    Synced => "syncs", "";
    /// Snapshots published.
    Snapshotted => "snapshots", "";
    /// Sightings not published since a snapshot will replace them: the link or the backend is away.
    SightingAway => "sightings_dropped", "away";
    /// Sightings not published since a snapshot will replace them: too many are unconfirmed.
    SightingBacklog => "sightings_dropped", "backlog";
    /// Sighting reports that the broker lost or refused; a snapshot follows.
    SightingLost => "reports_failed", "sightings";
    /// Settlement reports that the broker refused; they are published again and a sync follows.
    SettlementNacked => "reports_failed", "settlements";
    /// Sessions given away that the broker refused; they are published again.
    SessionNacked => "reports_failed", "session";
    /// Syncs that the broker lost or refused; another follows.
    SyncLost => "reports_failed", "sync";
    /// Commands turned away by a new sync number, since too many settlements were unconfirmed.
    SettlementBacklog => "sync_reasons", "settlement_backlog";
    /// Control reports ignored: of an earlier link.
    ControlOldLink => "control_ignored", "old_link";
    /// Control reports ignored: of an earlier run of the router.
    ControlOldRun => "control_ignored", "old_run";
    /// Control reports ignored: of another shard's router.
    ControlOtherShard => "control_ignored", "other_shard";
    /// Control reports that say: a newer process has this gateway's id.
    Superseded => "superseded", "";
    /// Answers about sessions that nobody waits for any more.
    SessionAnswerUnknown => "control_ignored", "unknown_session_request";
    /// Answers to heartbeats that are no longer remembered.
    AnswerUnknown => "control_ignored", "unknown_heartbeat";
}

/// The counts of one core since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    counts: [u64; Count::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { counts: [0; Count::ALL.len()] }
    }
}

impl Counters {
    /// How often it happened.
    #[must_use]
    pub fn of(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// Everything, in the order of [`Count::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Count, u64)> + '_ {
        Count::ALL.iter().map(|&count| (count, self.of(count)))
    }

    /// Adds the counts of another core, to export one sum.
    pub fn add_all(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    /// A publish or command with such a payload was written to a client.
    pub(crate) fn written(&mut self, qos: QoS, payload_bytes: usize) {
        let (messages, bytes) = match qos {
            QoS::AtMostOnce => (Count::WrittenQos0, Count::WrittenBytesQos0),
            QoS::AtLeastOnce => (Count::WrittenQos1, Count::WrittenBytesQos1),
            QoS::ExactlyOnce => (Count::WrittenQos2, Count::WrittenBytesQos2),
        };
        self.add(messages);
        self.add_many(bytes, payload_bytes as u64);
    }

    /// A publish with such a payload was taken in.
    pub(crate) fn received(&mut self, qos: QoS, payload_bytes: usize) {
        let (messages, bytes) = match qos {
            QoS::AtMostOnce => (Count::PublishQos0, Count::PublishBytesQos0),
            QoS::AtLeastOnce => (Count::PublishQos1, Count::PublishBytesQos1),
            QoS::ExactlyOnce => (Count::PublishQos2, Count::PublishBytesQos2),
        };
        self.add(messages);
        self.add_many(bytes, payload_bytes as u64);
    }

    pub(crate) fn add(&mut self, count: Count) {
        self.add_many(count, 1);
    }

    pub(crate) fn add_many(&mut self, count: Count, more: u64) {
        self.counts[count as usize] += more;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_counts_share_a_name() {
        let names: BTreeSet<_> = Count::ALL.iter().map(|c| (c.metric(), c.reason())).collect();
        assert_eq!(names.len(), Count::ALL.len());
    }

    #[test]
    fn counts_add_up() {
        let mut counters = Counters::default();
        counters.add(Count::Opened);
        counters.add_many(Count::CommandGone, 2);
        let mut sum = counters.clone();
        sum.add_all(&counters);
        assert_eq!((sum.of(Count::Opened), sum.of(Count::CommandGone), sum.of(Count::Synced)), (2, 4, 0));
        assert_eq!(sum.iter().map(|(_, n)| n).sum::<u64>(), 6);
    }
}
