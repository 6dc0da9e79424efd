//! The section of one run: cards with what matters, charts, and everything that was set.

use super::super::model::{Latency, Run};
use super::super::quantity::{Count, Digits, Kibibytes, Micros, Share, plural};
use super::charts;
use super::markup::Markup;
use super::plot::Ink;

/// Everything about a run.
pub(super) fn section(run: &Run) -> Markup {
    let mut section = Markup::new();
    section.raw("<section><header>");
    section.element("h2", "", &run.name);
    section.element("p", "muted", lead(run)).raw("</header>");
    section.add(&warnings(run)).add(&cards(run));
    section.raw("<div class=\"charts\">");
    let of_unit = (Ink(0), run.unit.as_str(), &run.latency);
    let bystander = run.bystander.as_ref();
    let bystander = bystander.map(|latency| (Ink(1), "unrelated request", latency));
    let lines: Vec<_> = std::iter::once(of_unit).chain(bystander).collect();
    let charts = [
        charts::ramp(&run.steps),
        charts::percentiles("Latency by percentile", &lines),
        charts::distribution("Distribution of latency", Ink(0), &run.latency),
        charts::rate_over_time(run),
        charts::latency_over_time(run),
        bystander.and_then(|(ink, _, latency)| {
            charts::distribution("Distribution of the unrelated request", ink, latency)
        }),
    ];
    for chart in charts.iter().flatten() {
        section.add(chart);
    }
    section.raw("</div>").add(&errors(run)).add(&details(run));
    section.raw("</section>");
    section
}

fn lead(run: &Run) -> String {
    let setting = |name: &str| run.settings.get(name).map(String::as_str);
    let target = setting("target").unwrap_or(&run.mode);
    format!("{target}, {} s, {}", Digits(run.seconds), run.started)
}

fn warnings(run: &Run) -> Markup {
    let mut warnings = Markup::new();
    if run.load.was_the_bottleneck() {
        warnings.element(
            "p",
            "warning",
            "The load generator was the bottleneck: rate and latency are its own, not the server's. \
             CPU per unit holds.",
        );
    }
    if run.done == 0 {
        warnings.element("p", "warning", "Nothing was done: every try failed.");
    }
    warnings
}

fn cards(run: &Run) -> Markup {
    let mut cards = Markup::new();
    cards.raw("<div class=\"cards\">");
    let mut card = |title: &str, value: String, remark: String| {
        cards.raw("<div class=\"card\">");
        cards.element("small", "", title).element("b", "", value);
        cards.element("span", "muted", remark).raw("</div>");
    };
    let units = plural(&run.unit);
    let done = format!("{} in {} s", Count(run.done), Digits(run.seconds));
    card(
        &format!("{units} a second"),
        Digits(run.rate).to_string(),
        done,
    );
    let quantile = |latency: &Latency, quantile: f64| {
        let value = latency.quantile(quantile);
        value.map_or("–".to_owned(), |us| Micros(us).to_string())
    };
    let mean = format!("mean {}", Micros(run.latency.mean_us));
    card("p50", quantile(&run.latency, 0.5), mean);
    let max = format!("max {}", Micros(run.latency.max_us));
    card("p99", quantile(&run.latency, 0.99), max);
    if let Some(bystander) = &run.bystander {
        let p50 = format!("p50 {}", quantile(bystander, 0.5));
        card("unrelated request p99", quantile(bystander, 0.99), p50);
    }
    if let Some(server) = &run.server {
        let shares = format!(
            "{} kernel, {} of a core",
            Share(server.kernel_share),
            Share(server.utilization)
        );
        let cpu = Micros(server.cpu_us_per_unit).to_string();
        card(&format!("server CPU per {}", run.unit), cpu, shares);
        let resident = Kibibytes(server.rss_kib as f64).to_string();
        match server.rss_kib_per_connection {
            Some(each) => card(
                "memory per connection",
                Kibibytes(each).to_string(),
                format!("{resident} resident"),
            ),
            None => card("server memory", resident, "resident".to_owned()),
        }
        if let Some(calls) = server.hsm_calls_per_unit {
            let remark = format!("per {}", run.unit);
            card("HSM calls", Digits(calls).to_string(), remark);
        }
    }
    if let Some(share) = run.resumed_share().filter(|_| run.resumed > 0) {
        let remark = format!("{} of {}", Count(run.resumed), Count(run.done));
        card("resumed", Share(share).to_string(), remark);
    }
    let failures = run.failures();
    let tried = (run.done + failures).max(1);
    let share = Share(failures as f64 / tried as f64).to_string();
    card("errors", Count(failures).to_string(), share);
    cards.raw("</div>");
    cards
}

fn errors(run: &Run) -> Markup {
    let mut errors = Markup::new();
    let most = run.errors.values().max().copied().unwrap_or_default();
    if most == 0 {
        return errors;
    }
    let mut kinds: Vec<(&String, &u64)> = run.errors.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    errors.raw("<figure class=\"chart\"><figcaption><b>Errors by kind</b></figcaption>");
    errors.raw("<div class=\"bars\">");
    for (kind, count) in kinds {
        errors
            .element("span", "", kind)
            .raw("<div><i class=\"bad\" style=\"width:");
        errors
            .at(100.0 * *count as f64 / most as f64)
            .raw("%\"></i></div>");
        errors.element("span", "number", Count(*count));
    }
    errors.raw("</div></figure>");
    errors
}

/// What was set, and what the load generator paid.
pub(super) fn details(run: &Run) -> Markup {
    let mut details = Markup::new();
    details.raw("<details><summary>Settings and load generator</summary><dl>");
    for (name, value) in &run.settings {
        details.element("dt", "", name).element("dd", "", value);
    }
    let load = &run.load;
    let cost = format!(
        "{} s of CPU, {} threads, the busiest {} of a core",
        Digits(load.cpu_seconds),
        load.threads,
        Share(load.busiest)
    );
    details
        .element("dt", "", "load generator")
        .element("dd", "", cost);
    if run.retried_hello > 0 {
        details.element("dt", "", "hellos retried");
        details.element("dd", "", Count(run.retried_hello));
    }
    details.raw("</dl></details>");
    details
}
