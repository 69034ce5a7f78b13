//! Filled in as the work goes on.
