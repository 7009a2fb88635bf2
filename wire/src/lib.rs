//! What two processes of the mesh exchange: ids, topics, envelopes, sightings, settlements, receipts.
