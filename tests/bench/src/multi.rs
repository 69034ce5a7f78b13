use crate::Options;
use crate::report::Report;
pub(crate) fn run(_options: &Options) -> anyhow::Result<Report> {
    anyhow::bail!("soon")
}
