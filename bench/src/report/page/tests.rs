//! The page holds what it promises: one file, nothing to load, nothing from outside unescaped.

use super::html;
use crate::report::model::{Latency, Report, Run};
use crate::report::sample;

fn all() -> [Report; 4] {
    let nothing = Report::here(vec![Run::default()]);
    [
        sample::single(),
        sample::ramp_and_mixed(),
        sample::peers(),
        nothing,
    ]
}

#[test]
fn what_is_named_cannot_become_markup() {
    let evil = "</title></style></script><img src=x onerror=alert(1)>\"'";
    for mut report in all() {
        report.machine.cpu = evil.to_owned();
        for run in &mut report.runs {
            run.name.push_str(evil);
            run.mode = evil.to_owned();
            run.unit = evil.to_owned();
            run.started = evil.to_owned();
            run.settings.insert(evil.to_owned(), evil.to_owned());
            run.settings.insert("on".to_owned(), evil.to_owned());
            run.errors.insert(evil.to_owned(), 3);
        }
        let page = html(&report);
        assert!(!page.contains("<img"), "{page}");
        assert!(page.contains("&lt;img"));
        assert_eq!(page.matches("</script>").count(), 1);
        assert_eq!(page.matches("</style>").count(), 1);
        assert_eq!(page.matches("</title>").count(), 1);
    }
}

#[test]
fn there_is_nothing_to_load() {
    for report in all() {
        let page = html(&report);
        for loads in [
            "src=",
            "@import",
            "url(",
            "<link",
            "<iframe",
            "<object",
            "fetch(",
            "XMLHttpRequest",
            "import(",
            "WebSocket",
            "=\"http",
            "='http",
            "=\"//",
        ] {
            assert!(!page.contains(loads), "{loads}");
        }
        assert!(page.contains("default-src 'none'"));
    }
}

#[test]
fn a_value_that_is_no_number_does_not_reach_a_drawing() {
    let mut report = sample::single();
    report.runs[0].rate = f64::NAN;
    report.runs[0].latency = Latency {
        count: 3,
        buckets: vec![(0.0, 1), (f64::INFINITY, 2)],
        ..Latency::default()
    };
    for point in &mut report.runs[0].series {
        point.p99_us = f64::INFINITY;
    }
    let page = html(&report);
    for attribute in page.split(" d=\"").skip(1) {
        let path = attribute.split('"').next().unwrap();
        assert!(!path.contains("NaN") && !path.contains("inf"), "{path}");
    }
}

#[test]
fn elements_are_closed() {
    for report in all() {
        let page = html(&report);
        for tag in [
            "section", "div", "figure", "table", "tr", "td", "th", "details", "dl", "svg", "span",
            "ul", "b", "small",
        ] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}

#[test]
fn a_run_shows_cards_charts_and_settings() {
    let page = html(&sample::single());
    for part in [
        "Latency by percentile",
        "Distribution of latency",
        "Rate over time",
        "Latency over time",
        "Errors by kind",
        "server CPU per handshake",
        "x25519",
        "180 µs",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(html(&sample::ramp_and_mixed()).contains("Search for the highest rate"));
}

#[test]
fn peers_show_bars_ratios_and_who_is_absent() {
    let page = html(&sample::peers());
    for part in [
        "Overview",
        "× 1.00",
        "not installed",
        "hs13_p256",
        "h1_keepalive",
        "min … max",
    ] {
        assert!(page.contains(part), "{part}");
    }
}
