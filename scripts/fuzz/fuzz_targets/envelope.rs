//! Any attribute: what is read from it is written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::envelope::Envelope;

fuzz_target!(|text: &str| {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let envelope = Envelope::read(pairs);
    let written = envelope.write();
    let pairs = written.iter().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(Envelope::read(pairs), envelope);
});
