//! Every seed and every file of the corpus goes through its decoder, and a few thousand inputs that come of them.

use std::time::Duration;

use fuzz::{Limits, TARGETS, fuzz, kept, stray, try_input};

#[test]
fn the_corpus_is_answered_without_fault() {
    for target in TARGETS {
        let corpus = kept(target).unwrap();
        assert!(!corpus.is_empty(), "there is no corpus of {}", target.name);
        for (path, input) in corpus {
            if let Err(fault) = try_input(target, &input) {
                panic!("{}: {fault:?}", path.display());
            }
        }
    }
}

#[test]
fn the_corpus_has_no_file_that_is_not_replayed() {
    assert_eq!(stray().unwrap(), []);
}

#[test]
fn seeds_are_answered_without_fault() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for input in seeds {
            if let Err(fault) = try_input(target, &input) {
                panic!("{}: {fault:?} for {input:?}", target.name);
            }
        }
    }
}

#[test]
fn a_few_thousand_broken_inputs_are_answered_without_fault() {
    let limits = Limits { time: Duration::from_secs(60), inputs: 3000 };
    for target in TARGETS {
        let report = fuzz(target, 1, limits).unwrap();
        assert_eq!(report.failure, None, "{}", target.name);
        assert_eq!(report.tried, limits.inputs, "{} is slow", target.name);
        assert!(report.answers > 1, "{} answers always the same", target.name);
    }
}
