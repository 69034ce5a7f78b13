//! Logging: lines to stderr, or, while there is a prompt, above it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

type Route = Box<dyn Fn(&str) + Send>;

/// Where the lines of the log go; clones are handles to the same.
#[derive(Clone, Default)]
pub(crate) struct Log {
    /// `None`: stderr.
    route: Arc<Mutex<Option<Route>>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Begins to log what `filter` (as in `$RUST_LOG`) says; an error says what is wrong with it. Once a process.
    pub(crate) fn start(filter: &str) -> Result<Self, String> {
        let log = Self::default();
        let filter = EnvFilter::try_new(filter).map_err(|error| format!("$RUST_LOG: {error}"))?;
        let _a_test_logs_already = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .with_ansi(false)
            .with_writer(log.clone())
            .try_init();
        Ok(log)
    }

    /// Lines go here from now on.
    pub(crate) fn send_to(&self, route: impl Fn(&str) + Send + 'static) {
        *self.route.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(route));
    }

    /// Lines go to stderr from now on.
    pub(crate) fn send_to_stderr(&self) {
        *self.route.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

/// Takes one line of the log; the subscriber writes each at once.
#[derive(Debug)]
pub(crate) struct LineWriter<'a>(&'a Log);

impl io::Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*self.0.route.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(route) => route(&String::from_utf8_lossy(bytes)),
            None => io::Write::write_all(&mut io::stderr(), bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
