//! From a plan to its run.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use time::format_description::well_known::Rfc3339;

use super::crew::{Measured, measure};
use super::{Mixed, Mode, Pace, Plan, Protocol, idle, ramp};
use crate::report::model::{Latency, Run};
use crate::report::watch::Watcher;

/// Makes the load of `plan` and measures it. Blocks until it is over or Ctrl-C; what was measured until
/// then is the outcome. Fails only where nothing could be begun.
pub fn run(plan: &Plan, watcher: &dyn Watcher) -> anyhow::Result<Run> {
    plan.check()?;
    raise_descriptor_limit();
    match &plan.mode {
        Mode::Ramp(ramp) => ramp::search(plan, ramp, watcher),
        Mode::Idle => {
            let held = idle::hold(plan, watcher)?;
            let mut run = outcome(plan, held.measured);
            run.rate = held.opened as f64 / run.seconds.max(1e-9);
            if let (Some(server), Some(before)) = (&mut run.server, held.rss_before_kib) {
                let grown = server.rss_kib as f64 - before as f64;
                server.rss_kib_per_connection =
                    (held.opened > 0).then(|| grown / held.opened as f64);
            }
            Ok(run)
        }
        Mode::Mixed(mixed) => {
            let bystander = bystander(plan, mixed);
            Ok(outcome(plan, measure(plan, Some(&bystander), watcher)?))
        }
        _ => Ok(outcome(plan, measure(plan, None, watcher)?)),
    }
}

/// One connection that asks again and again, whatever the others do.
fn bystander(plan: &Plan, mixed: &Mixed) -> Plan {
    let mut bystander = plan.clone();
    bystander.mode = Mode::Keepalive;
    bystander.protocol = Protocol::Http1;
    bystander.target = mixed.probe.clone().unwrap_or_else(|| plan.target.clone());
    bystander.pace = Pace::Open {
        per_second: 1.0 / mixed.every.as_secs_f64(),
    };
    bystander.tls.resume = 0.0;
    bystander.tls.identities.truncate(1);
    bystander.concurrency = 1;
    bystander.threads = 1;
    bystander
}

fn outcome(plan: &Plan, measured: Measured) -> Run {
    let load = measured.load;
    let units = match plan.mode {
        Mode::Bulk => load.bytes as f64 / 1e9,
        _ => load.done as f64,
    };
    let mut settings = plan.settings();
    if measured.interrupted {
        settings.insert("interrupted".to_owned(), "true".to_owned());
    }
    let bystander = matches!(plan.mode, Mode::Mixed(_));
    let mut errors = load.errors;
    for (kind, count) in measured.bystander.errors {
        errors.insert(format!("bystander:{kind}"), count);
    }
    Run {
        name: plan.name.clone(),
        mode: plan.mode.name().to_owned(),
        unit: plan.mode.unit().to_owned(),
        settings,
        started: measured.started.format(&Rfc3339).unwrap_or_default(),
        seconds: measured.seconds,
        done: load.done,
        bytes: load.bytes,
        rate: units / measured.seconds.max(1e-9),
        resumed: load.resumed,
        retried_hello: load.retried,
        latency: Latency::of(&load.latency),
        bystander: bystander.then(|| Latency::of(&measured.bystander.latency)),
        errors,
        series: measured.series,
        server: measured.server.map(|spent| spent.per(units)),
        load: measured.cost,
        steps: Vec::new(),
    }
}

/// As many connections as the administrator allows. Where that fails, connections will say so.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
