//! Tests of the messages to and from the tracker.
