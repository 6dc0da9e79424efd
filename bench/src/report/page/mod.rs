//! A report as one HTML page that needs nothing else: no network, no file beside it.
//!
//! Its own policy forbids every request, and what was measured or named enters it escaped.

mod charts;
mod markup;
mod plot;
mod run;
mod scale;
mod side_by_side;

use super::model::{Machine, Report};
use super::quantity::Count;
use super::rounds::Rounds;
use super::standing::Standings;

use markup::Markup;

/// The page.
pub fn html(report: &Report) -> String {
    let mut page = Markup::new();
    page.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ");
    page.raw("style-src 'unsafe-inline'; script-src 'unsafe-inline'\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">");
    page.element("title", "", title(report));
    page.raw("<style>")
        .raw(include_str!("style.css"))
        .raw("</style></head><body>");
    page.raw("<header class=\"top\">")
        .element("h1", "", title(report));
    page.element("p", "muted", machine(&report.machine))
        .raw("</header><main>");

    let all = Standings::of(report);
    let peers = side_by_side::peers(&all);
    if all.len() > 1 {
        page.add(&side_by_side::overview(&all, &peers));
    }
    for standings in &all {
        page.add(&side_by_side::section(standings, &peers));
    }
    for rounds in Rounds::of(report) {
        if rounds.scenario_and_peer().is_none() {
            for run in &rounds.runs {
                page.add(&run::section(run));
            }
        }
    }
    page.raw("</main><footer class=\"muted\">");
    page.text(&report.machine.load_tool)
        .raw("</footer><script>");
    page.raw(include_str!("hover.js"))
        .raw("</script></body></html>\n");
    page.into_string()
}

fn title(report: &Report) -> String {
    let all = Standings::of(report);
    match (report.runs.first(), all.len()) {
        (Some(run), 0) => format!("Load of {}", run.name),
        (_, 1) => "Peers side by side".to_owned(),
        (_, scenarios) if scenarios > 1 => {
            format!("Peers side by side: {} scenarios", Count(scenarios as u64))
        }
        _ => "Nothing was measured".to_owned(),
    }
}

fn machine(machine: &Machine) -> String {
    let Machine {
        cpu,
        cores,
        kernel,
        os,
        load_tool,
    } = machine;
    format!("{cpu}, {cores} cores, {os}, Linux {kernel}, {load_tool}")
}

#[cfg(test)]
mod tests;
