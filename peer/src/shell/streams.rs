//! Streams: stdout for data, stderr for talk and, where that is a terminal, for progress bars.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::execute::Sink;
use super::render::{self, Printed};
use crate::command::Progress;
use crate::config::Colours;

/// Most bars at once; further ones are not shown.
const MAX_BARS: usize = 16;
/// A bar is so many parts long that a percent shows.
const BAR_PARTS: u64 = 1000;

/// Where a program without a prompt prints.
pub(crate) struct Streams {
    data: Box<dyn Write + Send>,
    talk: Box<dyn Write + Send>,
    bars: Option<Bars>,
    colours: Colours,
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    by_name: HashMap<String, ProgressBar>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("bars", &self.bars.is_some()).finish_non_exhaustive()
    }
}

impl Streams {
    /// This process's stdout and stderr.
    pub(crate) fn of_this_process(colours: Colours) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            data: Box::new(io::stdout()),
            talk: Box::new(io::stderr()),
            bars: terminal.then(Bars::default),
            colours: if terminal { colours } else { Colours::Never },
        }
    }

    /// Two writers, neither a terminal.
    #[cfg(test)]
    pub(crate) fn plain(data: impl Write + Send + 'static, talk: impl Write + Send + 'static) -> Self {
        Self { data: Box::new(data), talk: Box::new(talk), bars: None, colours: Colours::Never }
    }

    /// Whether progress is shown at all.
    pub(crate) const fn shows_progress(&self) -> bool {
        self.bars.is_some()
    }

    fn write(&mut self, lines: &[Printed]) -> io::Result<()> {
        for line in lines {
            match line {
                Printed::Data(text) => writeln!(self.data, "{text}")?,
                // Nobody reads stderr: that is no reason to stop.
                _ => drop(writeln!(self.talk, "{}", coloured(line, self.colours))),
            }
        }
        self.data.flush()
    }
}

impl Sink for Streams {
    fn print(&mut self, lines: &[Printed]) -> io::Result<()> {
        match self.bars.as_ref().map(|bars| bars.all.clone()) {
            Some(all) => all.suspend(|| self.write(lines)),
            None => self.write(lines),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let Some(bars) = &mut self.bars else { return };
        if !bars.by_name.contains_key(&progress.name) {
            if bars.by_name.len() == MAX_BARS {
                return;
            }
            let bar = bars.all.add(ProgressBar::new(BAR_PARTS).with_style(style()));
            bar.set_prefix(render::visible(&progress.name).into_owned());
            bars.by_name.insert(progress.name.clone(), bar);
        }
        if let Some(bar) = bars.by_name.get(&progress.name) {
            bar.set_position(parts(progress));
            bar.set_message(render::progress_details(progress));
        }
    }

    fn end_progress(&mut self) {
        if let Some(bars) = &mut self.bars {
            for (_name, bar) in bars.by_name.drain() {
                bar.finish_and_clear();
            }
        }
    }
}

/// How much of the bar is full.
pub(crate) fn parts(progress: &Progress) -> u64 {
    let parts = u128::from(progress.bytes) * u128::from(BAR_PARTS);
    match parts.checked_div(u128::from(progress.bytes_total)) {
        Some(parts) => u64::try_from(parts).unwrap_or(BAR_PARTS),
        None => BAR_PARTS,
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix} [{bar:16}] {msg}";
    ProgressStyle::with_template(template).expect("the template is fixed").progress_chars("=> ")
}

/// The line with its beginning coloured where that is wanted.
pub(super) fn coloured(line: &Printed, colours: Colours) -> String {
    let plain = line.plain();
    if colours == Colours::Never {
        return plain;
    }
    match line {
        Printed::Error(text) => format!("\x1b[1;31merror:\x1b[0m {text}"),
        Printed::Hint(text) => format!("\x1b[1;36mhint:\x1b[0m {text}"),
        Printed::Data(_) | Printed::Talk(_) => plain,
    }
}
