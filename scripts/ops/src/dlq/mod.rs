//! The dead-letter workbench: why payments died, and sending them back once the cause is mended.
//!
//! A payment that could not be processed waits in the dead-letter queue. Its message there is a *dead
//! letter*, here also just a *letter*. The queue from which the functions take payments is the *main queue*.
//!
//! - [`command`]: the commands and their flags.
//!
//! Letters:
//! - [`letter`]: a letter and what it says of its death.
//! - [`filter`]: which letters a command is about.
//! - [`hold`]: looking at messages without consuming them.
//! - [`scan`]: reading the queue.
//! - [`desk`]: where a command works, and the letters that it is about.
//! - `standing`: what the tables say of a payment that was submitted, and what is written into them.
//! - [`archive`]: letters in a file.
//! - `report`: what several commands say of letters.
//!
//! Commands, each in the file of its name:
//! - [`summary`], [`list`], [`show`]: looking at letters.
//! - [`redrive`]: sending letters back. [`send`] does the sending, [`follow`] finds out what became of them.
//!   [`native`] lets SQS do it.
//! - [`export`], [`discard`]: letters into an archive; [`restore`]: out of it.
//! - [`reconcile`]: what clients are told, compared with what is in the queue.

pub mod archive;
pub mod command;
pub mod desk;
pub mod discard;
pub mod export;
pub mod filter;
pub mod follow;
pub mod hold;
pub mod letter;
pub mod list;
pub mod native;
pub mod reconcile;
pub mod redrive;
mod report;
pub mod restore;
pub mod scan;
pub mod send;
pub mod show;
mod standing;
pub mod summary;
