//! Reports for the tests of this room, with every part filled.

use hdrhistogram::Histogram;

use super::model::{FORMAT, Latency, LoadCost, Machine, Point, RampStep, Report, Run, ServerCost};

fn latency(scale: u64) -> Latency {
    let mut histogram = Histogram::new(3).unwrap();
    for value in 1..=5_000_u64 {
        // A body and a tail.
        let nanoseconds = 200_000 + value * 100 + (value / 4_900) * value * 500;
        histogram.record(nanoseconds * scale / 100).unwrap();
    }
    Latency::of(&histogram)
}

fn machine() -> Machine {
    Machine {
        cpu: "A processor <of sorts>".to_owned(),
        cores: 2,
        kernel: "6.1".to_owned(),
        os: "Debian".to_owned(),
        load_tool: "portcullis-bench 0".to_owned(),
    }
}

fn run(name: &str, scale: u64) -> Run {
    let settings = [
        ("target", "https://127.0.0.1:8443"),
        ("group", "x25519"),
        ("concurrency", "32"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let point = |at: u64| Point {
        second: at as f64 * 0.25,
        done: 1_200 + at % 5 * 20,
        errors: u64::from(at == 7),
        p50_us: 400.0 + at as f64,
        p99_us: 900.0 + (at % 3) as f64 * 100.0,
    };
    Run {
        name: name.to_owned(),
        mode: "handshake".to_owned(),
        unit: "handshake".to_owned(),
        settings: settings.into(),
        started: "2026-11-25T04:00:00Z".to_owned(),
        seconds: 4.0,
        done: 20_000,
        rate: (500_000.0 / scale as f64).round(),
        resumed: 5_000,
        latency: latency(scale),
        errors: [("reset".to_owned(), 1)].into(),
        series: (1..=16).map(point).collect(),
        server: Some(ServerCost {
            cpu_seconds: 3.6,
            kernel_share: 0.31,
            cpu_us_per_unit: (18 * scale) as f64 / 10.0,
            utilization: 0.9,
            rss_kib: 12_345,
            rss_kib_per_connection: None,
            hsm_calls_per_unit: Some(1.0),
        }),
        load: LoadCost {
            cpu_seconds: 2.5,
            threads: 2,
            busiest: 0.61,
        },
        ..Run::default()
    }
}

/// One run, as `portcullis-bench handshake` makes it.
pub(super) fn single() -> Report {
    Report {
        format: FORMAT,
        machine: machine(),
        runs: vec![run("handshake", 100)],
    }
}

/// The search for the highest rate, and a run with a bystander.
pub(super) fn ramp_and_mixed() -> Report {
    let step = |offered: f64, kept| RampStep {
        offered,
        achieved: offered.min(4_000.0),
        p99_us: if kept { 900.0 } else { 40_000.0 },
        errors: 0,
        kept,
    };
    let mut ramp = run("ramp", 100);
    ramp.steps = vec![
        step(1_000.0, true),
        step(4_000.0, true),
        step(5_000.0, false),
    ];
    let mut mixed = run("mixed", 120);
    mixed.bystander = Some(latency(20));
    Report {
        format: FORMAT,
        machine: machine(),
        runs: vec![ramp, mixed],
    }
}

/// Two scenarios, three peers, three rounds, and a peer that is not there.
pub(super) fn peers() -> Report {
    let mut runs = Vec::new();
    for round in 0..3 {
        for (peer, scale) in [("portcullis", 100), ("envoy", 140), ("nginx", 260)] {
            for scenario in ["hs13_p256", "h1_keepalive"] {
                runs.push(run(&format!("{scenario}/{peer}"), scale + round * 7));
            }
        }
    }
    runs.push(Run {
        name: "hs13_p256/hitch".to_owned(),
        errors: [("not installed".to_owned(), 1)].into(),
        ..Run::default()
    });
    Report {
        format: FORMAT,
        machine: machine(),
        runs,
    }
}
