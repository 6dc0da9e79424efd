//! Peers side by side: an overview of all scenarios, and a section for each.

use super::super::model::Run;
use super::super::quantity::{Digits, Micros, Share};
use super::super::rounds::value;
use super::super::standing::{Figure, Place, Standings};
use super::charts;
use super::markup::Markup;
use super::plot::Ink;

/// The peers of all scenarios in the order in which they first come: a peer keeps its colour.
pub(super) fn peers<'a>(all: &[Standings<'a>]) -> Vec<&'a str> {
    let mut peers = Vec::new();
    for standings in all {
        let placed = standings.places.iter().map(|place| place.peer);
        let absent = standings.absent.iter().map(|(peer, _)| *peer);
        for peer in placed.chain(absent) {
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
    }
    peers.sort_by_key(|peer| *peer != "portcullis");
    peers
}

/// A table of all scenarios and peers: median, and ratio to the best.
pub(super) fn overview(all: &[Standings<'_>], peers: &[&str]) -> Markup {
    let mut table = Markup::new();
    table.raw("<section><header><h2>Overview</h2><p class=\"muted\">");
    table.raw("median and ratio to the best of the row; the best is set off</p></header>");
    table.raw("<div class=\"wide\"><table class=\"overview\"><thead><tr><th>scenario</th>");
    for (at, peer) in peers.iter().enumerate() {
        table.raw("<th class=\"").raw(Ink(at).class()).raw("\">");
        table.text(peer).raw("</th>");
    }
    table.raw("</tr></thead><tbody>");
    for standings in all {
        table
            .raw("<tr><th><a href=\"#")
            .text(standings.scenario)
            .raw("\">");
        table.text(standings.scenario).raw("</a>");
        table
            .element("small", "", standings.figure.title(&standings.unit))
            .raw("</th>");
        for peer in peers {
            cell(&mut table, standings, peer);
        }
        table.raw("</tr>");
    }
    table.raw("</tbody></table></div></section>");
    table
}

fn cell(table: &mut Markup, standings: &Standings<'_>, peer: &str) {
    let place = standings.places.iter().find(|place| place.peer == peer);
    let Some(place) = place else {
        let why = standings.absent.iter().find(|(absent, _)| *absent == peer);
        table.element("td", "absent", why.map_or("–", |(_, why)| why));
        return;
    };
    let first = standings
        .places
        .first()
        .is_some_and(|first| first.peer == peer);
    table.raw(if first { "<td class=\"best\">" } else { "<td>" });
    table.text(standings.figure.show(place.spread.median));
    table
        .element("small", "", format!("× {:.2}", place.to_best))
        .raw("</td>");
}

/// One scenario: bars, table, latency of everybody, and what was switched on.
pub(super) fn section(standings: &Standings<'_>, peers: &[&str]) -> Markup {
    let ink = |peer: &str| {
        Ink(peers
            .iter()
            .position(|known| *known == peer)
            .unwrap_or_default())
    };
    let mut section = Markup::new();
    section
        .raw("<section id=\"")
        .text(standings.scenario)
        .raw("\"><header>");
    section.element("h2", "", standings.scenario);
    section
        .element("p", "muted", what(standings))
        .raw("</header>");
    section
        .raw("<div class=\"charts\">")
        .add(&bars(standings, ink));
    let typical: Vec<(Ink, &str, &Run)> = standings
        .places
        .iter()
        .filter_map(|place| {
            let run = place.rounds.typical(|run| standings.figure.of(run))?;
            Some((ink(place.peer), place.peer, run))
        })
        .collect();
    let latencies: Vec<_> = typical
        .iter()
        .map(|(ink, peer, run)| (*ink, *peer, run.bystander.as_ref().unwrap_or(&run.latency)))
        .collect();
    let title = if standings.has_bystander() {
        "Latency of an unrelated request"
    } else {
        "Latency by percentile"
    };
    if let Some(chart) = charts::percentiles(title, &latencies) {
        section.add(&chart);
    }
    section.raw("</div>").add(&table(standings));
    section.add(&how(&typical)).raw("</section>");
    section
}

fn what(standings: &Standings<'_>) -> String {
    let figure = standings.figure.title(&standings.unit);
    format!("{figure}; {}", standings.what_is_compared())
}

/// A bar for the median and a whisker from the least to the greatest round.
fn bars(standings: &Standings<'_>, ink: impl Fn(&str) -> Ink) -> Markup {
    let most = standings.places.iter().map(|place| place.spread.max);
    let most = most.fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let percent = |value: f64| 100.0 * value / most;
    let mut figure = Markup::new();
    figure.raw("<figure class=\"chart\"><figcaption>");
    let title = standings.figure.title(&standings.unit);
    let remark = match standings.figure {
        Figure::Rate => "more is better; whisker: least to greatest round",
        _ => "less is better; whisker: least to greatest round",
    };
    figure.element("b", "", title).element("small", "", remark);
    figure.raw("</figcaption><div class=\"bars\">");
    for place in &standings.places {
        let spread = &place.spread;
        figure
            .element("span", "", place.peer)
            .raw("<div><i class=\"fill ");
        figure.raw(ink(place.peer).class()).raw("\" style=\"width:");
        figure
            .at(percent(spread.median))
            .raw("%\"></i><u style=\"left:");
        figure.at(percent(spread.min)).raw("%;width:");
        figure
            .at(percent(spread.max - spread.min))
            .raw("%\"></u></div>");
        figure
            .raw("<span class=\"number\">")
            .text(standings.figure.show(spread.median));
        figure
            .element("small", "", format!(" × {:.2}", place.to_best))
            .raw("</span>");
    }
    for (peer, why) in &standings.absent {
        figure
            .element("span", "muted", peer)
            .element("div", "muted", why);
        figure.raw("<span></span>");
    }
    figure.raw("</div></figure>");
    figure
}

fn table(standings: &Standings<'_>) -> Markup {
    let mut table = Markup::new();
    table.raw("<div class=\"wide\"><table><thead><tr><th>peer</th><th>median</th><th>× best</th>");
    table.raw("<th>× reference</th><th>min … max</th><th>rate</th><th>p50</th><th>p99</th>");
    table.raw(
        "<th>kernel</th><th>of a core</th><th>resumed</th><th>errors</th></tr></thead><tbody>",
    );
    for place in &standings.places {
        table.raw("<tr>").element("th", "", place.peer);
        for cell in cells(standings, place) {
            table.element("td", "", cell);
        }
        table.raw("</tr>");
    }
    table.raw("</tbody></table></div>");
    table
}

fn cells(standings: &Standings<'_>, place: &Place<'_>) -> Vec<String> {
    let nothing = || "–".to_owned();
    let median = |of: &dyn Fn(&Run) -> Option<f64>| place.rounds.median(of);
    let duration =
        |of: fn(&Run) -> Option<f64>| median(&of).map_or_else(nothing, |us| Micros(us).to_string());
    let share = |of: &dyn Fn(&Run) -> Option<f64>| {
        median(of).map_or_else(nothing, |share| Share(share).to_string())
    };
    let show = |value: f64| standings.figure.show(value);
    let reference = place.to_reference;
    vec![
        show(place.spread.median),
        format!("{:.2}", place.to_best),
        reference.map_or_else(nothing, |ratio| format!("{ratio:.2}")),
        format!("{} … {}", show(place.spread.min), show(place.spread.max)),
        median(&value::rate).map_or_else(nothing, |rate| format!("{}/s", Digits(rate))),
        duration(standings.p50()),
        duration(standings.p99()),
        share(&|run| run.server.map(|server| server.kernel_share)),
        share(&|run| run.server.map(|server| server.utilization)),
        share(&|run| run.resumed_share().filter(|_| run.resumed > 0)),
        place.failures.to_string(),
    ]
}

/// What was switched on for each peer, and how load was made.
fn how(typical: &[(Ink, &str, &Run)]) -> Markup {
    let mut how = Markup::new();
    how.raw("<details><summary>What was on, and how it was measured</summary><dl>");
    for (_, peer, run) in typical {
        let of = |name: &str| run.settings.get(name).map_or("–", String::as_str);
        how.element("dt", "", peer);
        how.element("dd", "", format!("{}: {}", of("version"), of("on")));
    }
    let Some((_, _, run)) = typical.first() else {
        how.raw("</dl></details>");
        return how;
    };
    let own = ["version", "on", "binary", "target", "round", "server"];
    for (name, value) in &run.settings {
        if !own.contains(&name.as_str()) {
            how.element("dt", "", name).element("dd", "", value);
        }
    }
    how.raw("</dl></details>");
    how
}
