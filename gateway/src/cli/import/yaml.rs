//! YAML of Kubernetes as a small tree in which every value knows its line.
//!
//! Every scalar is kept as text: what is a number or a word is the reader's to say.

use std::path::Path;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; the line is the key's.
    Map(Vec<(String, usize, Node)>),
}

/// Reads the documents of a file. The error says where.
pub(super) fn read(file: &Path) -> Result<Vec<Node>, String> {
    let at = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{at}: {error}"))?;
    let documents = MarkedYaml::load_from_str(&text)
        .map_err(|error| format!("{at}:{}: {}", error.marker().line(), error.info()))?;
    let nodes = documents.iter().map(|document| {
        node(document).map_err(|line| format!("{at}:{line}: this is no YAML that Kubernetes reads"))
    });
    nodes.collect()
}

fn node(yaml: &MarkedYaml<'_>) -> Result<Node, usize> {
    let line = yaml.span.start.line();
    let value = match &yaml.data {
        YamlData::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Text(value.to_string()),
            Scalar::Integer(value) => Value::Text(value.to_string()),
            Scalar::FloatingPoint(value) => Value::Text(value.to_string()),
            Scalar::String(text) => Value::Text(text.to_string()),
        },
        YamlData::Sequence(items) => Value::List(items.iter().map(node).collect::<Result<_, _>>()?),
        YamlData::Mapping(entries) => {
            let mut map = Vec::new();
            for (key, value) in entries {
                let at = key.span.start.line();
                let Value::Text(key) = node(key)?.value else {
                    return Err(at);
                };
                map.push((key, at, node(value)?));
            }
            Value::Map(map)
        }
        _ => return Err(line),
    };
    Ok(Node { line, value })
}

impl Node {
    /// The value of a key; none also where it is null.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let (_, _, node) = self.entries().iter().find(|(name, _, _)| name == key)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// The value behind several keys.
    pub(super) fn at(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Keys, their lines and values; empty where this is no map.
    pub(super) fn entries(&self) -> &[(String, usize, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Items; empty where this is no list.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// A list of texts; none where it is something else.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let text = |node: &Node| node.text().map(str::to_owned);
        match &self.value {
            Value::List(items) => items.iter().map(text).collect(),
            _ => None,
        }
    }

    /// A map from texts to texts, such as labels.
    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        let pair = |(key, _, node): &(String, usize, Node)| {
            node.text().map(|text| (key.clone(), text.to_owned()))
        };
        self.entries().iter().filter_map(pair).collect()
    }
}
