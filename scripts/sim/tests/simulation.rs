//! Every invariant holds in a fixed set of histories and in fresh ones, and every check is awake.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sim::faults::Sabotage;
use sim::history::run;

/// Seeds that are always run; a seed that found a defect is added here.
const FIXED: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 101];

/// For how long fresh seeds are run.
const FRESH: Duration = Duration::from_secs(8);

/// Histories in which a sabotage must have been found.
const FOUND_WITHIN: u64 = 400;

fn check(seed: u64) {
    let history = run(seed, None, false);
    if let Some(violation) = history.violation {
        let trace = run(seed, None, true).trace.join("\n");
        panic!("{trace}\nseed {seed}: {violation}\nreplay: cargo sim -- --seed {seed}");
    }
}

#[test]
fn every_invariant_holds_in_the_fixed_histories() {
    FIXED.iter().copied().for_each(check);
}

#[test]
fn every_invariant_holds_in_fresh_histories() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    let from = u64::try_from(now.as_millis()).expect("the clock is set") << 20;
    let began = Instant::now();
    (from..).take_while(|_| began.elapsed() < FRESH).for_each(check);
}

#[test]
fn a_seed_always_leads_to_the_same_history() {
    for seed in 20..24 {
        let (one, other) = (run(seed, None, true), run(seed, None, true));
        assert_eq!(one.trace, other.trace);
        assert_eq!(one.tally, other.tally);
    }
}

#[test]
fn every_sabotage_is_found_and_named() {
    for (sabotage, invariants) in Sabotage::ALL {
        let found = (0..FOUND_WITHIN).find_map(|seed| run(seed, Some(*sabotage), false).violation);
        let violation = found.unwrap_or_else(|| panic!("{sabotage:?} is not found"));
        assert!(invariants.contains(&violation.invariant), "{sabotage:?}: {violation}");
    }
}
