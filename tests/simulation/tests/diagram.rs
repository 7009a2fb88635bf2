//! A seed that fails shows who sent what to whom.

use roost_simulation::{Break, Plan, diagram, run};

const WIDTH_MAX: usize = 200;
const PAGE_LINES: usize = 70;

#[test]
fn a_failing_seed_draws_the_command_its_device_and_both_gateways_on_a_page() {
    let plan = |seed| Plan { plant: Some(Break::TwoHolders), ..Plan::of(seed) };
    // From the first seed on that is known to. "two holders: us-1 writes c12 to main/device-3 at 12345 µs, while eu-1 has epoch 1.2"
    let found = (8..160).find_map(|seed| {
        let first = run(plan(seed)).broken.into_iter().next()?;
        first.starts_with("two holders").then_some((seed, first))
    });
    let (seed, broken) = found.expect("a seed is found that breaks this rule first");
    let words: Vec<&str> = broken.split_whitespace().collect();
    let (command, device) = (words[4], words[6].trim_start_matches("main/"));
    let drawn = diagram(plan(seed), None);
    assert!(drawn.contains(&broken), "{drawn}");
    let head = drawn.lines().find(|line| line.starts_with("seconds")).expect("the columns are named");
    assert!(head.contains(device) && head.contains("router") && head.contains("broker"), "{drawn}");
    assert!(head.matches("gateway-").count() >= 2, "two gateways hold it:\n{drawn}");
    let forwarded: Vec<&str> =
        drawn.lines().filter(|line| line.contains(&format!("{command}: session"))).collect();
    assert!(forwarded.iter().any(|line| line.contains("<") || line.contains(">")), "{drawn}");
    assert!(drawn.contains(&format!("PUBLISH {command}")), "the device gets it:\n{drawn}");
    assert!(drawn.lines().count() <= PAGE_LINES, "{drawn}");
    assert!(drawn.lines().all(|line| line.chars().count() <= WIDTH_MAX), "{drawn}");
}

#[test]
fn a_device_of_a_run_that_is_whole_can_be_drawn() {
    // Some are away from the beginning to the end.
    let drawn = (0..20).map(|device| (device, diagram(Plan::of(1), Some(device))));
    let found = drawn.into_iter().find(|(_, drawn)| drawn.contains("CONNECT"));
    let (device, drawn) = found.expect("a device of the run connects");
    assert!(drawn.contains(&format!("device-{device}")), "{drawn}");
}
