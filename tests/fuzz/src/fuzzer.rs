//! The loop: takes an input that was answered in a way of its own, breaks it, tries it, and keeps it where the answer is
//! new.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::corpus::kept;
use crate::mutate::mutate;
use crate::random::Random;
use crate::target::Target;
use crate::trial::{Fault, try_input};

/// Most inputs to break; answers beyond are many of one kind.
const MAX_POOL: usize = 4096;

/// How long to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time.
    pub time: Duration,
    /// Inputs.
    pub inputs: u64,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// How many inputs were tried.
    pub tried: u64,
    /// Inputs that were answered in a new way, the seeds and the corpus left out.
    pub new: Vec<Vec<u8>>,
    /// How many ways of answering were seen.
    pub answers: usize,
    /// The first input that failed.
    pub failure: Option<Failure>,
}

/// An input that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it was.
    pub input: Vec<u8>,
    /// How many had been tried before it.
    pub at: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// Fuzzes `target` until a limit is reached or an input fails. The same seed tries the same inputs in the same order.
pub fn fuzz(target: &Target, seed: u64, limits: Limits) -> Result<Report> {
    let mut run = Run {
        target,
        answers: BTreeSet::new(),
        pool: Vec::new(),
        report: Report { tried: 0, new: Vec::new(), answers: 0, failure: None },
    };
    let begin = Instant::now();
    let starts = (target.seeds)().into_iter().chain(kept(target)?.into_iter().map(|(_, input)| input));
    for input in starts {
        run.pool.push(input.clone());
        run.try_one(input, Origin::Start);
    }
    let mut random = Random::from_seed(seed);
    while run.report.failure.is_none() && run.report.tried < limits.inputs && begin.elapsed() < limits.time {
        let (input, other) = (random.below(run.pool.len()), random.below(run.pool.len()));
        let input = mutate(&mut random, &run.pool[input], &run.pool[other], target.words);
        run.try_one(input, Origin::Mutation);
    }
    run.report.answers = run.answers.len();
    Ok(run.report)
}

struct Run<'a> {
    target: &'a Target,
    answers: BTreeSet<String>,
    pool: Vec<Vec<u8>>,
    report: Report,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Start,
    Mutation,
}

impl Run<'_> {
    fn try_one(&mut self, input: Vec<u8>, origin: Origin) {
        if self.report.failure.is_some() {
            return;
        }
        match try_input(self.target, &input) {
            Ok(answer) => {
                let is_new = self.pool.len() < MAX_POOL && self.answers.insert(kind_of(&answer));
                if is_new && origin == Origin::Mutation {
                    self.pool.push(input.clone());
                    self.report.new.push(input);
                }
            }
            Err(fault) => self.report.failure = Some(Failure { input, at: self.report.tried, fault }),
        }
        self.report.tried += 1;
    }
}

/// An answer without what may be one of very many: numbers, and all from the first quotation mark on.
fn kind_of(answer: &str) -> String {
    let before_quotation = answer.split(['"', '`', '\'']).next().unwrap_or_default();
    let mut kind = String::new();
    for character in before_quotation.chars() {
        match character {
            '0'..='9' if kind.ends_with('0') => {}
            '0'..='9' => kind.push('0'),
            other => kind.push(other),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics deep inside, behind answers that lead there.
    fn maze(input: &[u8]) -> String {
        let depth = input.iter().zip(b"shoal").take_while(|(byte, wanted)| byte == wanted).count();
        assert!(depth < 5, "found");
        ["a", "b", "c", "d", "e"][depth].to_owned()
    }

    const MAZE: Target = Target {
        name: "maze",
        run: maze,
        seeds: || vec![b"x".to_vec()],
        words: &[],
        memory_base: 1 << 20,
        memory_per_byte: 0,
    };

    const LIMITS: Limits = Limits { time: Duration::from_secs(60), inputs: 2_000_000 };

    #[test]
    fn new_answers_lead_deeper_and_a_seed_repeats_the_way() {
        let [one, two] = [fuzz(&MAZE, 1, LIMITS).unwrap(), fuzz(&MAZE, 1, LIMITS).unwrap()];
        let failure = one.failure.unwrap();
        assert!(failure.input.starts_with(b"shoal"), "{failure:?}");
        assert!(matches!(failure.fault, Fault::Panic(_)));
        assert_eq!(two.failure, Some(failure));
    }

    #[test]
    fn numbers_and_quoted_words_make_no_new_answer() {
        assert_eq!(kind_of("unknown `dance` at line 10"), kind_of("unknown `sing` at line 7"));
        assert_eq!(kind_of("12 of 7 `a`b` 5"), "0 of 0 ");
        assert_ne!(kind_of("unknown `dance`"), kind_of("missing `dance`"));
    }
}
