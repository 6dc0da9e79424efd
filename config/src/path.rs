//! Paths of rules and routes, in the form requests are compared in.
use crate::Located;
use crate::check::Check;

/// A path pattern; matching is on the canonical path, by whole segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// `/a/b`: exactly this path.
    Exact(String),
    /// `/a/**`: `/a`, `/a/` and everything below. The value is without the trailing `/**` ("" for `/**`).
    Prefix(String),
    /// `/a/{id}/b`: some segments are open.
    Template(PathTemplate),
}

/// A path with open segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    /// In order; at least one is open. An empty last one stands for a slash at the end.
    pub segments: Vec<TemplateSegment>,
    /// How it ends.
    pub end: TemplateEnd,
}

/// A segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSegment {
    /// Exactly this one.
    Exact(String),
    /// `{id}` or `*`: any one segment that is not empty. The value is what is written, and says nothing.
    Open(String),
}

/// Whether a template is a whole path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateEnd {
    /// The path ends with the last segment.
    Here,
    /// `/**`: that path, and everything below.
    Below,
}

impl PathPattern {
    /// How it is written in the file.
    pub fn text(&self) -> String {
        match self {
            PathPattern::Exact(path) => path.clone(),
            PathPattern::Prefix(path) => format!("{path}/**"),
            PathPattern::Template(template) => template.text(),
        }
    }
}

impl PathTemplate {
    fn text(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            match segment {
                TemplateSegment::Exact(segment) | TemplateSegment::Open(segment) => {
                    text.push_str(segment);
                }
            }
        }
        if self.end == TemplateEnd::Below {
            text.push_str("/**");
        }
        text
    }
}

/// Reads `/a/b`, `/a/**` or `/a/{id}/b`.
pub(crate) fn path_pattern(check: &mut Check<'_>, text: &Located<String>) -> Option<PathPattern> {
    let (path, below) = match text.value.strip_suffix("/**") {
        Some(path) => (path, true),
        None => (text.value.as_str(), false),
    };
    let open = path.split('/').skip(1).any(is_open);
    if !path
        .split('/')
        .all(|segment| is_open(segment) || !segment.contains(['*', '{', '}']))
    {
        check
            .error(
                &text.span,
                "`**` stands only as the whole last segment of a path, `*` and `{name}` only for whole segments",
            )
            .help("write \"/a/**\" for `/a` and everything below it, \"/a/{id}\" for one segment below it");
        return None;
    }
    if below && path.is_empty() {
        return Some(PathPattern::Prefix(String::new()));
    }
    // `/a//**` has its empty segment where it was cut.
    let whole = if below && path.ends_with('/') {
        text.value.as_str()
    } else {
        path
    };
    check_path(check, &text.with(whole.to_owned()))?;
    if open {
        let segments = path
            .split('/')
            .skip(1)
            .map(|segment| match is_open(segment) {
                true => TemplateSegment::Open(segment.to_owned()),
                false => TemplateSegment::Exact(segment.to_owned()),
            });
        return Some(PathPattern::Template(PathTemplate {
            segments: segments.collect(),
            end: if below {
                TemplateEnd::Below
            } else {
                TemplateEnd::Here
            },
        }));
    }
    let path = path.to_owned();
    Some(if below {
        PathPattern::Prefix(path)
    } else {
        PathPattern::Exact(path)
    })
}

/// `*`, or a name in braces.
fn is_open(segment: &str) -> bool {
    let name = segment
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    segment == "*" || name.is_some_and(|name| !name.is_empty() && name.chars().all(plain))
}

/// A path in the form requests are compared in. Anything else would never match, or match something else.
pub(crate) fn check_path(check: &mut Check<'_>, path: &Located<String>) -> Option<()> {
    let text = path.value.as_str();
    let dots = text
        .split('/')
        .any(|segment| segment == "." || segment == "..");
    let problem = match text {
        _ if !text.starts_with('/') => "a path begins with `/`",
        _ if dots => "a path has no `.` or `..` segments: requests are compared without them",
        _ if text.contains("//") => "a path has no empty segments (`//`)",
        _ if text.contains('%') => "a path is written without percent-encoding",
        _ if text.contains(';') => "a path has no parameters (`;`)",
        _ if text.contains('\\') => "a path has no backslash",
        _ if text.contains(['?', '#']) => "a path has no query and no fragment",
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "a path has only printable ASCII characters"
        }
        _ => return Some(()),
    };
    check.error(&path.span, problem);
    None
}
