//! Runs everything in this repository.

fn main() {}
