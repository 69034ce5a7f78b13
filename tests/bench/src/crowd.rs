use crate::Options;
use crate::report::Report;
pub(crate) fn run(_options: &Options, _n: u32) -> anyhow::Result<Report> {
    anyhow::bail!("soon")
}
