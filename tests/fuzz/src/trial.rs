//! Trials: one input into one decoder, and what is wrong with how it went.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::memory::measure;
use crate::target::Target;

/// An input that takes longer is a fault: the slowest honest one takes some milliseconds in a debug build.
const TOO_LONG: Duration = Duration::from_secs(2);

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What a decoder did that it must not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It panicked, or what the target says of its results does not hold.
    Panic(String),
    /// It took more memory than the target allows.
    Memory {
        /// Bytes at a time.
        taken: usize,
        /// Bytes allowed for an input of this length.
        allowed: usize,
    },
    /// It took too long.
    Slow(Duration),
}

/// Tries an input; tells how the decoder answered.
pub fn try_input(target: &Target, input: &[u8]) -> Result<String, Fault> {
    let begin = Instant::now();
    let (result, measured) = measure(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let took = begin.elapsed();
    let answer = result.map_err(|panic| Fault::Panic(format!("{} at {}", said(panic.as_ref()), PLACE.take())))?;
    let allowed = target.memory_base + target.memory_per_byte * input.len();
    if measured.peak > allowed {
        return Err(Fault::Memory { taken: measured.peak, allowed });
    }
    if took > TOO_LONG {
        return Err(Fault::Slow(took));
    }
    Ok(answer)
}

/// From now on panics are not printed but told in [`Fault::Panic`], with their place.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE.set(place);
    }));
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn target(run: fn(&[u8]) -> String) -> Target {
        Target { name: "test", run, seeds: Vec::new, words: &[], memory_base: 1000, memory_per_byte: 2 }
    }

    #[test]
    fn an_ordinary_answer_is_no_fault() {
        let answer = try_input(&target(|input| format!("{} bytes", input.len())), b"abc");
        assert_eq!(answer, Ok("3 bytes".to_owned()));
    }

    #[test]
    #[expect(clippy::indexing_slicing, reason = "it is to panic")]
    fn a_panic_is_a_fault() {
        let fault = try_input(&target(|input| input[5].to_string()), b"abc").unwrap_err();
        assert!(matches!(&fault, Fault::Panic(text) if text.starts_with("index out of bounds")), "{fault:?}");
    }

    #[test]
    fn too_much_memory_is_a_fault() {
        let greedy = target(|input| String::with_capacity(if input == b"all" { 1007 } else { 0 }));
        assert_eq!(try_input(&greedy, b"all"), Err(Fault::Memory { taken: 1007, allowed: 1006 }));
        assert_eq!(try_input(&greedy, b"no"), Ok(String::new()));
    }
}
