//! The library: which files this peer shares, in which network, remembered over restarts.
