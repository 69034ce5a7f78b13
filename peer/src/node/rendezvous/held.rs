//! Whether anybody uses a line: its streams hold it.

use std::sync::Arc;

use crate::holding::Holding;
use crate::tracker_client::Stream;

/// Held by all streams of a line; clones are of the same line.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold(Arc<()>);

impl Hold {
    /// Whether a stream holds it.
    pub(super) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Has a stream hold it.
    pub(super) fn over(&self, stream: Stream) -> Stream {
        Box::new(Holding::new(stream, self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_used_as_long_as_one_of_its_streams_is_there() {
        let hold = Hold::default();
        assert!(!hold.is_used());
        let streams = [(); 2].map(|()| hold.over(Box::new(tokio::io::duplex(1).0)));
        let [one, other] = streams;
        drop(one);
        assert!(hold.is_used());
        drop(other);
        assert!(!hold.is_used());
    }
}
