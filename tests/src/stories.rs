//! The stories, by who tells them.

mod command;
mod failure;
mod restart;
mod submission;

use libtest_mimic::Trial;

/// Makes tests of stories, each named as it is.
macro_rules! trials {
    ($($story:ident),* $(,)?) => {
        vec![$(crate::trial(concat!(module_path!(), "::", stringify!($story)), $story)),*]
    };
}
use trials;

/// The seed of a random story: a new one, or that of `REMIT_SEED`, which repeats a run.
fn seed() -> u64 {
    let given = std::env::var("REMIT_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

/// Every story.
pub(crate) fn all() -> Vec<Trial> {
    let rooms = [submission::all(), failure::all(), restart::all(), command::all()];
    rooms.into_iter().flatten().collect()
}
