//! Memory: the allocator of this crate's programs counts what each thread holds, and the most it held.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that this thread took and did not give back; below 0 where it gives back what another took.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// What a piece of work took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Bytes it held at most at a time, over what was held when it began.
    pub peak: usize,
    /// Bytes it has not given back.
    pub left: usize,
}

/// Runs `work` on this thread and tells what memory it took.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Measured) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    let measured = Measured { peak: difference(MOST.get(), before), left: difference(HELD.get(), before) };
    (result, measured)
}

fn difference(after: isize, before: isize) -> usize {
    usize::try_from(after - before).unwrap_or(0)
}

struct Counting;

impl Counting {
    fn count(change: isize) {
        // Not there at the very end of a thread, when nobody measures any more.
        let _gone = HELD.try_with(|held| {
            held.set(held.get() + change);
            let _gone = MOST.try_with(|most| most.set(most.get().max(held.get())));
        });
    }
}

fn signed(size: usize) -> isize {
    isize::try_from(size).expect("a layout is never larger")
}

#[expect(
    unsafe_code,
    reason = "an allocator cannot be had otherwise; this one only counts and leaves all else to System"
)]
// SAFETY: every call goes to `System` with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::count(-signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may both be there for a moment.
        Self::count(signed(size));
        Self::count(-signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_and_rest_are_told_apart() {
        let (kept, measured) = measure(|| {
            drop(Vec::<u8>::with_capacity(100_000));
            Vec::<u8>::with_capacity(1000)
        });
        assert_eq!((measured.peak, measured.left, kept.capacity()), (100_000, 1000, 1000));
    }

    #[test]
    fn each_thread_is_measured_by_itself() {
        let ((), measured) = measure(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| drop(Vec::<u8>::with_capacity(10 << 20)));
            });
        });
        assert!(measured.peak < 1 << 20, "{measured:?}");
    }
}
