//! Every target holds for the seeds of its corpus.

use std::path::Path;
use std::process::Command;

fn holds(target: &str, program: &str) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let seeds = std::fs::read_dir(corpus).expect("a corpus");
    let seeds: Vec<_> = seeds.map(|seed| seed.expect("a seed").path()).collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let output = Command::new(program).args(&seeds).output().expect("the target runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("Executed ").count(), seeds.len(), "{said}");
}

#[test]
fn envelope_holds() {
    holds("envelope", env!("CARGO_BIN_EXE_envelope"));
}

#[test]
fn payment_holds() {
    holds("payment", env!("CARGO_BIN_EXE_payment"));
}

#[test]
fn record_holds() {
    holds("record", env!("CARGO_BIN_EXE_record"));
}

#[test]
fn template_holds() {
    holds("template", env!("CARGO_BIN_EXE_template"));
}
