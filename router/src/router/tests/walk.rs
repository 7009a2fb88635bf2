//! Random walks: two gateways that follow the rules, two devices, faults at any moment. Whatever the order of events, every
//! command ends once, order is kept, and nothing is delivered twice without a break.

mod node;
mod step;
mod world;

use proptest::prelude::*;
use step::step;
use world::World;

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(400),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_command_ends_once_and_order_is_kept(steps in proptest::collection::vec(step(), 1..160), dies in any::<bool>()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.heal(dies);
        world.check();
    }
}
