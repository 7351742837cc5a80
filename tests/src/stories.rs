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

/// Every story.
pub(crate) fn all() -> Vec<Trial> {
    let rooms = [submission::all(), failure::all(), restart::all(), command::all()];
    rooms.into_iter().flatten().collect()
}
