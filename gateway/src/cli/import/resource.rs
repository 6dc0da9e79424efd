//! The two kinds of Istio resources that say who may call whom, and which of them are about a workload.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::yaml::{Node, Value, read};

/// Where something stands, and what could not be carried over from there.
#[derive(Debug, Default)]
pub(super) struct Losses(pub(super) Vec<String>);

impl Losses {
    pub(super) fn add(&mut self, file: &Path, line: usize, what: impl std::fmt::Display) {
        self.0.push(format!("{}:{line}: {what}", file.display()));
    }
}

/// Labels in a namespace: what a policy selects, or what a workload has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) namespace: String,
    /// Sorted.
    pub(super) labels: Vec<(String, String)>,
}

impl Scope {
    /// Reads `app=x,ns=y`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut scope = Self {
            namespace: "default".to_owned(),
            labels: Vec::new(),
        };
        for pair in text.split(',') {
            match pair.split_once('=') {
                Some(("ns", namespace)) => scope.namespace = namespace.to_owned(),
                Some((key, value)) => scope.labels.push((key.to_owned(), value.to_owned())),
                None => return Err(format!("`{pair}` is no label; write app=NAME,ns=NAMESPACE")),
            }
        }
        scope.labels.sort();
        Ok(scope)
    }

    /// As [`Scope::parse`] reads it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.labels {
            let _ = write!(text, "{key}={value},"); // A String takes everything.
        }
        text + "ns=" + &self.namespace
    }

    /// Whether a policy with this scope is about a workload.
    pub(super) fn covers(&self, workload: &Scope, root: &str) -> bool {
        let here = self.namespace == workload.namespace || self.namespace == root;
        here && self
            .labels
            .iter()
            .all(|label| workload.labels.contains(label))
    }
}

/// What every resource has.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) scope: Scope,
    pub(super) spec: Node,
    /// `istio.io/dry-run: "true"`.
    pub(super) dry_run: bool,
}

/// All that was read.
#[derive(Debug, Default)]
pub(super) struct Resources {
    pub(super) peers: Vec<Resource>,
    pub(super) policies: Vec<Resource>,
}

impl Resources {
    /// Reads the files. What belongs to Istio's security and is neither kind is lost.
    pub(super) fn read(files: &[PathBuf], losses: &mut Losses) -> Result<Self, String> {
        let mut resources = Self::default();
        for file in files {
            for document in read(file)? {
                resources.add(file, document, losses);
            }
        }
        Ok(resources)
    }

    fn add(&mut self, file: &Path, document: Node, losses: &mut Losses) {
        let word = |key: &str| document.get(key).and_then(Node::text).unwrap_or_default();
        if word("kind") == "List" || word("kind").ends_with("PolicyList") {
            let items = document.get("items").map(Node::items).unwrap_or_default();
            for item in items {
                self.add(file, item.clone(), losses);
            }
            return;
        }
        if !word("apiVersion").starts_with("security.istio.io/") {
            return;
        }
        let kind = word("kind").to_owned();
        let resource = Resource::new(file, document);
        match kind.as_str() {
            "PeerAuthentication" => self.peers.push(resource),
            "AuthorizationPolicy" => self.policies.extend(resource.for_each_target()),
            kind => {
                let what = format!("{kind} {} is not carried over", resource.name);
                losses.add(file, resource.line, what);
            }
        }
    }

    /// The narrowest scopes the resources name: each is a workload, as far as the files tell.
    pub(super) fn workloads(&self) -> Vec<Scope> {
        let mut scopes: Vec<Scope> = Vec::new();
        for resource in self.peers.iter().chain(&self.policies) {
            if !scopes.contains(&resource.scope) {
                scopes.push(resource.scope.clone());
            }
        }
        scopes
    }
}

impl Resource {
    fn new(file: &Path, document: Node) -> Self {
        let text = |keys: &[&str]| document.at(keys).and_then(Node::text).map(str::to_owned);
        let labels = document.at(&["spec", "selector", "matchLabels"]);
        let mut labels = labels.map(Node::pairs).unwrap_or_default();
        labels.sort();
        let dry_run = text(&["metadata", "annotations", "istio.io/dry-run"]);
        let nothing = Node {
            line: document.line,
            value: Value::Null,
        };
        Self {
            name: text(&["metadata", "name"]).unwrap_or_else(|| "unnamed".to_owned()),
            file: file.to_owned(),
            line: document.line,
            scope: Scope {
                namespace: text(&["metadata", "namespace"]).unwrap_or_else(|| "default".to_owned()),
                labels,
            },
            dry_run: dry_run.as_deref() == Some("true"),
            spec: document.get("spec").cloned().unwrap_or(nothing),
        }
    }

    /// A policy for what `targetRefs` names: once for each, as if kind and name were a label.
    fn for_each_target(self) -> Vec<Resource> {
        let refs = match (self.spec.get("targetRefs"), self.spec.get("targetRef")) {
            (None, None) => return vec![self],
            (several, one) => several.map_or(one.into_iter().collect(), |refs| {
                refs.items().iter().collect::<Vec<_>>()
            }),
        };
        let word = |target: &Node, key: &str| {
            let text = target.get(key).and_then(Node::text);
            text.unwrap_or("unreadable").to_owned()
        };
        let of = |target: &&Node| {
            let mut resource = self.clone();
            resource.scope.labels = vec![(word(target, "kind"), word(target, "name"))];
            resource
        };
        refs.iter().map(of).collect()
    }

    /// `namespace/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.scope.namespace, self.name)
    }
}
