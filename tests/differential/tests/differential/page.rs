//! The page of figures.

use std::fmt::Write;

use roost_differential::{Mutation, TYPES};
use roost_gateway::packet::{PacketType, ProtocolVersion};

use crate::classes::{CLASSES, Right};
use crate::comparison::{Library, Outcome};
use crate::tally::Tally;

const HEAD: &str = "# Three decoders\n\n\
    `tests/long differential`: the same bytes to the gateway's decoder and to those of rumqttc and of rmqtt (rmqtt-codec), which both speak MQTT 3.1.1\n\
    and 5: valid packets of every type with every property, and what can go wrong with their bytes. They see the same in every field, refuse it both, or wait\n\
    for more both; every other case is of one of the kinds below, each with the clause that says who is right. A case of none fails the test, and so does\n\
    a kind that is not met.\n";

const ENCODED: &str = "\nThe other direction: what a library has taken goes through its own encoder, and the gateway's decoder must see the same again. It does,\n\
    but for what is of the kind \"an empty user name or password is none\".\n";

/// Everything that was counted, as a page.
pub(crate) fn page(tally: &Tally, packets: u64) -> String {
    let mut page = HEAD.to_owned();
    let mut line = |text: String| writeln!(page, "{text}").expect("a string takes all");
    line(format!(
        "\n{packets} packets, each compared with both.\n\n| what was done to it | comparisons |\n|---|---|"
    ));
    for mutation in Mutation::ALL {
        line(format!("| {} | {} |", words(mutation), tally.of_mutation(mutation)));
    }
    line(ENCODED.to_owned());
    line("| encoded again, and read alike | packets |\n|---|---|".to_owned());
    for library in Library::ALL {
        line(format!("| {} | {} |", library.name(), tally.alike(library)));
    }
    line("\n## By packet\n\n*Same*: in every field; *refused*, *waiting*: by both.\n".to_owned());
    line("| packet | version | library | same | refused | waiting | different |\n|---|---|---|---|---|---|---|".to_owned());
    for packet_type in TYPES {
        for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
            if packet_type == PacketType::Auth && version != ProtocolVersion::V5 {
                continue;
            }
            let name = if version == ProtocolVersion::V5 { "5.0" } else { "3.1.1" };
            for library in Library::ALL {
                let of = |outcome| tally.outcome(library, version, packet_type, outcome);
                line(format!(
                    "| {packet_type} | {name} | {} | {} | {} | {} | {} |",
                    library.name(),
                    of(Outcome::Same),
                    of(Outcome::Refused),
                    of(Outcome::Waiting),
                    of(Outcome::Different)
                ));
            }
        }
    }
    line("\n## Differences\n\nClauses are of MQTT 5.0 where nothing else is said. In none of these cases the gateway is wrong; *either*: nothing forbids either.\n".to_owned());
    line("| kind | clause | right | rumqttc | rmqtt |\n|---|---|---|---|---|".to_owned());
    for class in CLASSES {
        let right = match class.right {
            Right::Ours => "the gateway",
            Right::Either => "either",
        };
        let of = |library| tally.of_class_at(class.name, library);
        let (rumqttc, rmqtt) = (of(Library::Rumqttc), of(Library::Rmqtt));
        line(format!("| {} | {} | {right} | {rumqttc} | {rmqtt} |", class.name, class.clause));
    }
    page
}

const fn words(mutation: Mutation) -> &'static str {
    match mutation {
        Mutation::None => "nothing",
        Mutation::Bit => "another bit",
        Mutation::Byte => "another byte",
        Mutation::Truncated => "truncated, and the length says so",
        Mutation::Extended => "extended, and the length says so",
        Mutation::LengthOff => "a field or length one off",
        Mutation::Spliced => "a property put in, valid or not",
        Mutation::Repeated => "a part of it twice",
        Mutation::Noise => "random bytes behind the first",
        Mutation::Cut => "cut, and more announced",
        Mutation::LengthLong => "a length longer than it needs",
    }
}
