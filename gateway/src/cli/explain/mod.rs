//! `portcullis explain`: why a client is served or refused, and what a reason code means.
//!
//! The running gateway is asked where it answers, for it knows its lists and answers; else the file is. Which one it
//! was is said first.

mod code;
mod text;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use portcullis_config::Config;
use rustls_pki_types::UnixTime;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ConfigFile, Exit, colored, complain, complain_server, say};
use crate::admin::{self, ControlError};
use crate::explain::{Asked, AskedRequest, Decision, Report, explain};
use crate::server::located;
use crate::snapshot::{Rules, Standing};

#[derive(clap::Args)]
pub(super) struct Explain {
    /// A reason code, as it stands in the logs: what it means, what usually is the cause, what to do.
    #[arg(group = "what")]
    code: Option<String>,
    /// Every reason code.
    #[arg(long, group = "what")]
    list: bool,
    /// The certificate of a client, PEM, with its intermediates behind it; `none` for a client without one.
    #[arg(long, group = "what", value_name = "FILE")]
    cert: Option<PathBuf>,
    #[command(flatten)]
    case: Case,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

/// What the client does.
#[derive(clap::Args)]
struct Case {
    /// Server name the client asks for; `none` sends none. Default: the host, or that of the only site.
    #[arg(long)]
    sni: Option<String>,
    /// Listener it connects to, where several serve the name.
    #[arg(long)]
    listener: Option<String>,
    /// Host of a request. Default: the server name.
    #[arg(long)]
    host: Option<String>,
    /// Method of a request. Default: GET.
    #[arg(long)]
    method: Option<String>,
    /// Path of a request; without it and the other parts of a request the handshake alone is explained.
    #[arg(long)]
    path: Option<String>,
    /// Address it comes from. Default: 127.0.0.1.
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// A header field of the request, as in 'x-env: prod'; may be repeated.
    #[arg(long = "header", value_name = "FIELD", value_parser = field)]
    headers: Vec<(String, String)>,
    /// At what time, as in 2026-12-31T23:59:59Z. Default: now.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Option<u64>,
}

/// Who is asked.
#[derive(clap::Args)]
struct Source {
    #[command(flatten)]
    file: ConfigFile,
    /// Control socket of the gateway to ask; default: `admin.socket` of the configuration, if somebody answers there.
    #[arg(short, long, conflicts_with = "offline")]
    socket: Option<PathBuf>,
    /// Ask the file, also where a gateway is running.
    #[arg(long)]
    offline: bool,
}

/// The gateway's answer.
#[derive(Deserialize)]
struct Answer {
    generation: u64,
    report: Report,
}

impl Explain {
    pub(super) fn run(self) -> Exit {
        match (&self.code, self.list, self.cert) {
            (Some(code), _, _) => code::one(code, self.json),
            (None, true, _) => code::all(self.json),
            (None, false, Some(cert)) => match self.case.asked(&cert) {
                Ok(asked) => match self.source.ask(asked) {
                    Ok((source, report)) => tell(&source, &report, self.json),
                    Err(exit) => exit,
                },
                Err(problem) => complain(problem, Exit::Config),
            },
            (None, false, None) => {
                let advice = "say what: a reason code, --list, or --cert FILE (--cert none)";
                complain(advice, Exit::Usage)
            }
        }
    }
}

fn tell(source: &str, report: &Report, json: bool) -> Exit {
    if json {
        say(json!({ "source": source, "report": report }));
    } else {
        say(text::page(source, report));
    }
    match report.verdict.decision {
        Decision::Served => Exit::Done,
        Decision::Refused => Exit::Live,
    }
}

impl Case {
    fn asked(self, cert: &Path) -> Result<Asked, String> {
        let chain = match cert.as_os_str() == "none" {
            true => None,
            false => Some(std::fs::read_to_string(cert).map_err(|error| {
                format!("{}: {error}; --cert takes PEM, or none", cert.display())
            })?),
        };
        let of_request = self.host.is_some() || self.method.is_some() || self.path.is_some();
        let request = (of_request || !self.headers.is_empty()).then_some(AskedRequest {
            host: self.host,
            method: self.method,
            path: self.path,
            headers: self.headers,
        });
        Ok(Asked {
            chain,
            server_name: self.sni,
            listener: self.listener,
            from: self.from,
            at: self.at,
            request,
        })
    }
}

impl Source {
    /// The report, and who made it.
    fn ask(self, asked: Asked) -> Result<(String, Report), Exit> {
        if let Some(socket) = &self.socket {
            return match running(socket, &asked)? {
                Ok(answered) => Ok(answered),
                Err(error) => Err(complain(error, Exit::Failed)),
            };
        }
        let path = &self.file.config;
        let (config, sources) = Config::load(path)
            .map_err(|errors| complain(errors.render(colored()), Exit::Config))?;
        let why = match &config.admin.socket {
            _ if self.offline => "as asked".to_owned(),
            None => "it has no admin.socket to ask a gateway".to_owned(),
            Some(socket) => match running(socket, &asked)? {
                Ok(answered) => return Ok(answered),
                Err(_) => format!("no gateway answers on {}", socket.display()),
            },
        };
        let standing = Standing::open(&config).map_err(|error| complain(error, Exit::Config))?;
        let rules = Rules::build(&config, &standing, None)
            .map_err(|errors| complain_server(&located(&sources, &errors)))?;
        let wrong = |error| complain(format_args!("error: {error}"), Exit::Config);
        let question = asked.check(UnixTime::now()).map_err(wrong)?;
        let report = explain(&rules, &question).map_err(wrong)?;
        Ok((format!("the file {} ({why})", path.display()), report))
    }
}

/// What a running gateway says; the inner error is that nobody answers.
fn running(socket: &Path, asked: &Asked) -> Result<Result<(String, Report), ControlError>, Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| complain(error, Exit::Failed))?;
    let line = format!("explain {}", json!(asked));
    let answer = match runtime.block_on(admin::call(socket, &line)) {
        Ok(answer) => answer,
        Err(ControlError::Refused(text)) => {
            return Err(complain(format_args!("error: {text}"), Exit::Config));
        }
        Err(error) => return Ok(Err(error)),
    };
    let Ok(answer) = serde_json::from_str::<Answer>(&answer) else {
        let advice = "the gateway's answer is not what this program understands";
        return Err(complain(advice, Exit::Failed));
    };
    let source = format!(
        "the running gateway on {} (generation {})",
        socket.display(),
        answer.generation
    );
    Ok(Ok((source, answer.report)))
}

/// `name: value`.
fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// RFC 3339, as seconds since the Unix epoch.
fn instant(text: &str) -> Result<u64, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write it as 2026-12-31T23:59:59Z (RFC 3339)".to_owned())?;
    u64::try_from(time.unix_timestamp()).map_err(|_| "it lies before 1970".to_owned())
}
