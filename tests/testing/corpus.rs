//! The inputs that fuzzing starts from, and those that it once failed on, tried as plain tests.

use std::{env, fs};

#[path = "../fuzz/checks.rs"]
mod checks;

#[test]
fn every_decoder_stands_its_corpus() {
    let corpus = format!("{}/tests/fuzz/corpus", env!("CARGO_MANIFEST_DIR"));
    for (name, check) in checks::ALL {
        let files = fs::read_dir(format!("{corpus}/{name}")).unwrap();
        let inputs: Vec<_> = files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect();
        assert!(inputs.len() > 8, "{name}: {} inputs", inputs.len());
        for input in inputs {
            // Also cut off, and with a byte more.
            for end in 0..=input.len() {
                check(&input[..end]);
            }
            check(&[&input[..], b"x"].concat());
        }
    }
}
