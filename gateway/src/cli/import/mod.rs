//! `portcullis import istio`: PeerAuthentication and AuthorizationPolicy in our words.
//!
//! Pure reading and writing: no cluster is asked. What cannot be carried over is told on standard error with
//! its line, and errs to the safe side.

mod convert;
mod identities;
mod pattern;
mod resource;
mod who;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::PathBuf;

use self::convert::{Converter, Ours};
use self::resource::{Losses, Resource, Resources, Scope};
use self::who::{Bound, is_domain};
use self::write::{Effect, Page};
use self::yaml::Node;
use super::{Exit, complain, say};

/// Other systems' configuration in our words.
#[derive(clap::Subcommand)]
pub(super) enum Import {
    /// Istio's PeerAuthentication and AuthorizationPolicy, for one workload, as TOML on standard output.
    Istio(Istio),
}

#[derive(clap::Args)]
pub(super) struct Istio {
    /// Files with Istio's resources; others in them are passed over.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The workload the gateway stands for: its labels and namespace, as in app=httpbin,ns=foo, or what
    /// targetRefs names, as in Gateway=edge,ns=foo. Default: the one the files speak of.
    #[arg(long)]
    workload: Option<String>,
    /// The port of the workload the gateway stands for.
    #[arg(long)]
    port: Option<u16>,
    /// Trust domains of the mesh.
    #[arg(long = "trust-domain", default_value = "cluster.local")]
    trust_domains: Vec<String>,
    /// The namespace whose policies hold for the whole mesh.
    #[arg(long, default_value = "istio-system")]
    root_namespace: String,
    /// End with 3 when anything was not carried over.
    #[arg(long)]
    strict: bool,
}

impl Import {
    pub(super) fn run(self) -> Exit {
        let Import::Istio(istio) = self;
        match istio.convert() {
            Ok((page, losses)) => {
                say(page.trim_end());
                for loss in &losses.0 {
                    complain(loss, Exit::Done);
                }
                match istio.strict && !losses.0.is_empty() {
                    true => Exit::Config,
                    false => Exit::Done,
                }
            }
            Err((problem, exit)) => complain(format_args!("error: {problem}"), exit),
        }
    }
}

impl Istio {
    fn convert(&self) -> Result<(String, Losses), (String, Exit)> {
        for domain in &self.trust_domains {
            if !is_domain(domain) {
                return Err((format!("`{domain}` is no trust domain"), Exit::Usage));
            }
        }
        let mut losses = Losses::default();
        let mut resources =
            Resources::read(&self.files, &mut losses).map_err(|problem| (problem, Exit::Config))?;
        let workload = self
            .choose(&resources)
            .map_err(|text| (text, Exit::Usage))?;
        let root = self.root_namespace.as_str();
        resources
            .peers
            .retain(|peer| peer.scope.covers(&workload, root));
        resources
            .policies
            .retain(|policy| policy.scope.covers(&workload, root));

        let mut text = format!(
            "# Istio's rules for the workload {}, trust domain {}.\n\
             # Hosts are compared without their port, and a rule may name only hosts that a site has.\n\n",
            workload.text(),
            self.trust_domains.join(", ")
        );
        self.client_certs(&resources.peers, &mut text, &mut losses);
        let mut page = Page::default();
        self.rules(&resources.policies, &mut page, &mut losses);
        Ok((text + &page.finish(), losses))
    }

    /// The workload that was chosen, or the only one there is.
    fn choose(&self, resources: &Resources) -> Result<Scope, String> {
        if let Some(text) = &self.workload {
            return Scope::parse(text);
        }
        let scopes = resources.workloads();
        let everything = |workload: &&Scope| {
            scopes
                .iter()
                .all(|scope| scope.covers(workload, &self.root_namespace))
        };
        if let Some(only) = scopes.iter().find(everything) {
            return Ok(only.clone());
        }
        let mut text = "the files speak of several workloads; choose one:".to_owned();
        for scope in scopes {
            let _ = write!(text, "\n  --workload {}", scope.text()); // A String takes everything.
        }
        match text.contains('\n') {
            true => Err(text),
            false => Err(
                "there is no PeerAuthentication and no AuthorizationPolicy in the files".to_owned(),
            ),
        }
    }

    /// `client_cert` is a key of a site, which is not Istio's to name: it comes as a comment.
    fn client_certs(&self, peers: &[Resource], text: &mut String, losses: &mut Losses) {
        let mut modes = Vec::new();
        // The narrower wins: the mesh, then the namespace, then the workload.
        let rank = |peer: &&Resource| {
            (
                !peer.scope.labels.is_empty(),
                peer.scope.namespace != self.root_namespace,
            )
        };
        let mut sorted: Vec<_> = peers.iter().collect();
        sorted.sort_by_key(rank);
        for pair in sorted.windows(2) {
            if rank(&pair[0]) == rank(&pair[1]) {
                let what = format!(
                    "PeerAuthentication {} stands beside another; Istio takes the oldest, this the last",
                    pair[1].name
                );
                losses.add(&pair[1].file, pair[1].line, what);
            }
        }
        let mut base = ("accept", "no PeerAuthentication, so PERMISSIVE".to_owned());
        for peer in sorted {
            let place = format!("PeerAuthentication {}", peer.full_name());
            let mut mode =
                |node: Option<&Node>| mode_of(node.and_then(|node| node.get("mode")), peer, losses);
            if let Some(mode) = mode(peer.spec.get("mtls")) {
                base = (mode, place.clone());
                modes.clear();
            }
            let ports = peer
                .spec
                .get("portLevelMtls")
                .map(Node::entries)
                .unwrap_or_default();
            for (port, _, node) in ports {
                modes.retain(|(known, _, _)| known != port);
                if let Some(mode) = mode(Some(node)) {
                    modes.push((port.clone(), mode, place.clone()));
                }
            }
        }
        if let Some(port) = self.port.map(|port| port.to_string()) {
            if let Some((_, mode, place)) = modes.iter().find(|(known, _, _)| *known == port) {
                base = (mode, format!("{place}, port {port}"));
            }
            modes.clear();
        }
        let fragment = |mode: &str| match mode {
            "ignore" => "client_cert = { mode = \"ignore\" }".to_owned(),
            mode => format!("client_cert = {{ mode = \"{mode}\", trust = \"mesh-ca.pem\" }}"),
        };
        let _ = writeln!(
            text,
            "# In the site or listener that stands for this workload ({}):\n#   {}",
            base.1,
            fragment(base.0)
        );
        for (port, mode, place) in modes {
            let _ = writeln!(
                text,
                "# For its port {port} ({place}):\n#   {}",
                fragment(mode)
            );
        }
        text.push('\n');
    }

    fn rules(&self, policies: &[Resource], page: &mut Page, losses: &mut Losses) {
        let mut allow_exists = false;
        for policy in policies {
            let written = policy
                .spec
                .get("action")
                .and_then(Node::text)
                .unwrap_or("ALLOW");
            let (effect, bound) = match (written, policy.dry_run) {
                ("ALLOW", false) => (Effect::Allow, Bound::AtMost),
                ("DENY", false) => (Effect::Deny, Bound::AtLeast),
                ("DENY", true) => (Effect::Shadow, Bound::AtLeast),
                ("CUSTOM", false) => {
                    let what = format!(
                        "{}: no provider is asked here, so what CUSTOM is about is denied",
                        policy.name
                    );
                    losses.add(&policy.file, policy.line, what);
                    (Effect::Deny, Bound::AtLeast)
                }
                (action, _) => {
                    let trial = if policy.dry_run {
                        " on trial (dry-run)"
                    } else {
                        ""
                    };
                    let what = format!(
                        "{}: {action}{trial} changes no decision and is not carried over",
                        policy.name
                    );
                    losses.add(&policy.file, policy.line, what);
                    continue;
                }
            };
            allow_exists |= effect == Effect::Allow;
            let rules = self.converted(policy, bound, losses);
            if rules.is_empty() {
                page.comment(&format!(
                    "{} {}: no request matches.\n",
                    written,
                    policy.full_name()
                ));
            }
            for rule in &rules {
                page.rule(&policy.full_name(), effect, rule);
            }
        }
        if !allow_exists {
            page.comment("No ALLOW policy is about this workload: what nothing denies is allowed.");
            page.rule("no ALLOW policy", Effect::Allow, &Ours::default());
        }
    }

    fn converted(&self, policy: &Resource, bound: Bound, losses: &mut Losses) -> Vec<Ours> {
        let mut converter = Converter {
            file: &policy.file,
            namespace: &policy.scope.namespace,
            domains: &self.trust_domains,
            port: self.port,
            bound,
            losses,
        };
        converter.rules(policy.spec.get("rules"))
    }
}

/// The word for a mode of mutual TLS; none inherits.
fn mode_of(node: Option<&Node>, peer: &Resource, losses: &mut Losses) -> Option<&'static str> {
    let node = node?;
    match node.text().unwrap_or_default() {
        "STRICT" => Some("require"),
        "PERMISSIVE" => Some("accept"),
        "DISABLE" => Some("ignore"),
        "UNSET" => None,
        mode => {
            let what = format!("mode `{mode}` is none that this knows; `require` stands for it");
            losses.add(&peer.file, node.line, what);
            Some("require")
        }
    }
}
