//! `roost`: parse, build, run, drain. Nothing else.

fn main() {}
