use crate::Options;
use crate::report::Report;
pub(crate) fn run(_options: &Options, _n: Option<&str>) -> anyhow::Result<Report> {
    anyhow::bail!("soon")
}
