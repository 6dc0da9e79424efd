//! What a unit of work costs must not depend on how much else the gateway has: idle connections, sites, rules.
//!
//! CPU time of the process per unit, a small gateway and a large one side by side in rounds that take turns, because the
//! machine's speed drifts by more than the bound within minutes. What counts is the median of the rounds' ratios.

use std::fs;

use portcullis_bench::echo::Echo;
use rustls::crypto::aws_lc_rs::kx_group::X25519;

use super::tell;
use crate::harness::{Client, Connection, Gateway, GatewayBuilder, Site, within};

/// How much dearer a unit may be at the large gateway.
const BOUND: f64 = 1.15;
const ROUNDS: usize = 9;
const REQUESTS: usize = 2_400;
const HANDSHAKES: usize = 320;
/// Clients at a time.
const CLIENTS: usize = 16;

const IDLE: (usize, usize) = (10, 20_000);
const SITES: usize = 10_000;
const RULES: usize = 10_000;
/// Descriptors that a gateway needs beside its clients.
const SPARE: u64 = 600;

/// Costs nothing at the upstream.
const PATH: &str = "/status/204";

/// A gateway under load, and the hosts that are asked for in turn.
struct Side {
    gateway: Gateway,
    hosts: Vec<String>,
    standing: Vec<Connection>,
}

/// Nanoseconds of CPU that all threads of a process have had.
fn cpu_nanos(gateway: &Gateway) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let times = tasks.flatten().map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    times.sum()
}

fn client(host: &str) -> Client {
    Client::of(host).tls13().groups(&[X25519])
}

impl Side {
    async fn new(gateway: Gateway, hosts: Vec<String>) -> Self {
        let mut standing = Vec::new();
        for index in 0..CLIENTS {
            let client = client(&hosts[index * hosts.len() / CLIENTS]);
            standing.push(client.connect(gateway.address()).await.unwrap());
        }
        Self {
            gateway,
            hosts,
            standing,
        }
    }

    /// Microseconds of CPU for a request on a standing connection.
    async fn request(&mut self) -> f64 {
        let before = cpu_nanos(&self.gateway);
        let mut tasks = Vec::new();
        for mut connection in self.standing.drain(..) {
            tasks.push(tokio::spawn(async move {
                for _ in 0..REQUESTS / CLIENTS {
                    assert_eq!(connection.get(PATH).await.unwrap().status, 204);
                }
                connection
            }));
        }
        for task in tasks {
            self.standing.push(within("requests", task).await.unwrap());
        }
        (cpu_nanos(&self.gateway) - before) as f64 / 1e3 / REQUESTS as f64
    }

    /// Microseconds of CPU for a full handshake and a first request, of hosts spread over all.
    async fn handshake(&self, round: usize) -> f64 {
        let before = cpu_nanos(&self.gateway);
        let address = self.gateway.address();
        let mut tasks = Vec::new();
        for index in 0..CLIENTS {
            let each = HANDSHAKES / CLIENTS;
            // A stride that meets others in each round.
            let host = |nth| {
                &self.hosts[((round * CLIENTS + index) * each + nth) * 7919 % self.hosts.len()]
            };
            let clients: Vec<_> = (0..each).map(|nth| client(host(nth))).collect();
            tasks.push(tokio::spawn(async move {
                for client in clients {
                    let mut connection = client.connect(address).await.unwrap();
                    assert_eq!(connection.get(PATH).await.unwrap().status, 204);
                }
            }));
        }
        for task in tasks {
            within("handshakes", task).await.unwrap();
        }
        (cpu_nanos(&self.gateway) - before) as f64 / 1e3 / HANDSHAKES as f64
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median costs of both sides, of the ratio, and the range of that.
fn judge(what: &str, unit: &str, costs: &[(f64, f64)]) -> f64 {
    let ratios: Vec<f64> = costs.iter().map(|(small, large)| large / small).collect();
    let (low, high) = ratios
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), &ratio| {
            (low.min(ratio), high.max(ratio))
        });
    let ratio = median(ratios);
    tell(&format!(
        "{what}, {unit}: {:.1} us against {:.1} us, ratio {ratio:.2} ({low:.2}-{high:.2})",
        median(costs.iter().map(|cost| cost.1).collect()),
        median(costs.iter().map(|cost| cost.0).collect()),
    ));
    ratio
}

async fn compare(what: &str, mut small: Side, mut large: Side) {
    let (mut requests, mut handshakes) = (Vec::new(), Vec::new());
    // The first round warms both.
    for round in 0..=ROUNDS {
        let request = (small.request().await, large.request().await);
        let handshake = (small.handshake(round).await, large.handshake(round).await);
        if round > 0 {
            requests.push(request);
            handshakes.push(handshake);
        }
    }
    let request = judge(what, "keep-alive request", &requests);
    let handshake = judge(what, "full handshake and a request", &handshakes);
    assert!(
        request < BOUND,
        "{what}: a request costs {request:.2} times as much"
    );
    assert!(
        handshake < BOUND,
        "{what}: a handshake costs {handshake:.2} times as much"
    );
}

fn open_to_all(echo: &Echo) -> GatewayBuilder {
    let patient = "[timeouts]\nidle = '10m'\n[limits]\nconnections = 30000\n";
    Gateway::builder()
        .upstream(echo)
        .allow("anyone")
        .extra_toml(patient)
}

fn localhost() -> Vec<String> {
    vec!["localhost".to_owned()]
}

/// As many as wanted, or as this process may have descriptors, which the gateway inherits.
fn affordable(wanted: usize) -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.unwrap().split_whitespace().nth(3).unwrap();
    let allowed = soft
        .parse::<u64>()
        .unwrap_or(u64::MAX)
        .saturating_sub(SPARE);
    wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX))
}

/// Connections that had one request each and say nothing more.
async fn idle(gateway: &Gateway, count: usize) -> Vec<Connection> {
    let (address, client) = (gateway.address(), client("localhost"));
    let tasks = (0..CLIENTS).map(|index| {
        let client = client.clone();
        let share = count / CLIENTS + usize::from(index < count % CLIENTS);
        tokio::spawn(async move {
            let mut open = Vec::with_capacity(share);
            for _ in 0..share {
                let mut connection = client.connect(address).await.unwrap();
                assert_eq!(connection.get(PATH).await.unwrap().status, 204);
                open.push(connection);
            }
            open
        })
    });
    let mut open = Vec::with_capacity(count);
    for task in tasks.collect::<Vec<_>>() {
        open.extend(task.await.unwrap());
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_costs_the_same_beside_twenty_thousand_idle_connections() {
    let echo = Echo::start().await.unwrap();
    let small = open_to_all(&echo).spawn().await;
    let large = open_to_all(&echo).spawn().await;
    let many = affordable(IDLE.1);
    let idle = (idle(&small, IDLE.0).await, idle(&large, many).await);
    assert_eq!((idle.0.len(), idle.1.len()), (IDLE.0, many));
    let (small, large) = (
        Side::new(small, localhost()).await,
        Side::new(large, localhost()).await,
    );
    compare(
        &format!("{many} against {} idle connections", IDLE.0),
        small,
        large,
    )
    .await;
    let ended = idle
        .1
        .iter()
        .filter(|connection| connection.has_ended())
        .count();
    assert_eq!(ended, 0, "idle connections that are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_costs_the_same_with_ten_thousand_sites() {
    let echo = Echo::start().await.unwrap();
    let small = open_to_all(&echo).spawn().await;
    let hosts: Vec<String> = (0..SITES)
        .map(|index| format!("site{index:05}.test"))
        .collect();
    let builder = hosts.iter().fold(open_to_all(&echo), |builder, host| {
        builder.site(Site::new(host))
    });
    let large = builder.spawn().await;
    let (small, large) = (
        Side::new(small, localhost()).await,
        Side::new(large, hosts).await,
    );
    compare(&format!("{SITES} sites against 1"), small, large).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_costs_the_same_with_ten_thousand_rules() {
    let echo = Echo::start().await.unwrap();
    let small = open_to_all(&echo).spawn().await;
    let roles = "[[role]]\nname = 'orders'\nspiffe = ['spiffe://test.portcullis/orders']\n";
    let builder = (1..RULES).fold(Gateway::builder().extra_toml(roles), |builder, index| {
        builder.rule(&format!(
            "roles = ['orders']\npaths = ['/other/{index}/**']"
        ))
    });
    // The one that allows stands last.
    let large = builder.upstream(&echo).allow("anyone").spawn().await;
    let (small, large) = (
        Side::new(small, localhost()).await,
        Side::new(large, localhost()).await,
    );
    compare(&format!("{RULES} rules against 1"), small, large).await;
}
