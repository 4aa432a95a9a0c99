//! Which paths there are: Triton's regular expressions as far as they are served, matched by
//! hand. Upper and lower case differ.
//!
//! ```text
//! /v2(?:/health/(live|ready))?
//! /v2/models/([^/]+)(?:/versions/([0-9]+))?(?:/(infer|ready|config|stats))?      /v2/models/stats
//! /v2/repository(?:/([^/]+))?/(index|models/([^/]+)/(load|unload))
//! ```

use super::super::path::decoded;

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Path {
    Server,
    Live,
    Ready,
    AllStats,
    Index,
    /// The model's name, decoded.
    Load(String),
    /// The model's name, decoded.
    Unload(String),
    Model {
        /// Decoded.
        name: String,
        /// Its digits.
        version: Option<String>,
        what: What,
    },
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Metadata,
    Infer,
    Ready,
    Config,
    Stats,
}

impl Path {
    pub(super) fn of(path: &str) -> Option<Path> {
        let rest = path.strip_prefix("/v2")?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let parts: Vec<&str> = rest.split('/').skip(1).take(8).collect();
        let name = |name: &str| (!name.is_empty()).then(|| decoded(name).into_owned());
        Some(match parts.as_slice() {
            [] => Path::Server,
            ["health", "live"] => Path::Live,
            ["health", "ready"] => Path::Ready,
            ["models", "stats"] => Path::AllStats,
            ["models", model, rest @ ..] => {
                let (version, rest) = match rest {
                    ["versions", digits, rest @ ..] if is_number(digits) => {
                        (Some((*digits).to_string()), rest)
                    }
                    rest => (None, rest),
                };
                let what = match rest {
                    [] => What::Metadata,
                    ["infer"] => What::Infer,
                    ["ready"] => What::Ready,
                    ["config"] => What::Config,
                    ["stats"] => What::Stats,
                    _ => return None,
                };
                Path::Model { name: name(model)?, version, what }
            }
            // A repository's name is accepted, and means the one that there is.
            ["repository", "index"] => Path::Index,
            ["repository", one, "index"] if !one.is_empty() => Path::Index,
            ["repository", "models", model, verb] => Path::change(&name(model)?, verb)?,
            ["repository", one, "models", model, verb] if !one.is_empty() => {
                Path::change(&name(model)?, verb)?
            }
            _ => return None,
        })
    }

    fn change(model: &str, verb: &str) -> Option<Path> {
        match verb {
            "load" => Some(Path::Load(model.to_string())),
            "unload" => Some(Path::Unload(model.to_string())),
            _ => None,
        }
    }

    /// The one method that the path is asked by.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Path::Index | Path::Load(_) | Path::Unload(_) => "POST",
            Path::Model { what: What::Infer, .. } => "POST",
            _ => "GET",
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, version: Option<&str>, what: What) -> Path {
        Path::Model { name: name.to_string(), version: version.map(str::to_string), what }
    }

    #[test]
    fn paths_are_told_apart() {
        for (path, expected) in [
            ("/v2", Path::Server),
            ("/v2/health/live", Path::Live),
            ("/v2/health/ready", Path::Ready),
            ("/v2/models/stats", Path::AllStats),
            ("/v2/models/m", model("m", None, What::Metadata)),
            ("/v2/models/m%20n/infer", model("m n", None, What::Infer)),
            ("/v2/models/m/versions/3", model("m", Some("3"), What::Metadata)),
            ("/v2/models/m/versions/3/infer", model("m", Some("3"), What::Infer)),
            ("/v2/models/m/versions/3/ready", model("m", Some("3"), What::Ready)),
            ("/v2/models/m/config", model("m", None, What::Config)),
            ("/v2/models/m/versions/3/stats", model("m", Some("3"), What::Stats)),
            ("/v2/models/stats/infer", model("stats", None, What::Infer)),
            ("/v2/repository/index", Path::Index),
            ("/v2/repository/main/index", Path::Index),
            ("/v2/repository/models/m/load", Path::Load("m".to_string())),
            ("/v2/repository/main/models/m/unload", Path::Unload("m".to_string())),
        ] {
            assert_eq!(Path::of(path), Some(expected), "{path}");
        }
        for path in [
            "/v2/",
            "/V2",
            "/v2/health",
            "/v2/health/LIVE",
            "/v2/models",
            "/v2/models/",
            "/v2/models//infer",
            "/v2/models/m/",
            "/v2/models/m/versions",
            "/v2/models/m/versions/x",
            "/v2/models/m/versions/3/",
            "/v2/models/m/generate",
            "/v2/models/m/infer/x",
            "/v2/repository//index",
            "/v2/repository/models/m",
            "/v2/repository/models/m/delete",
            "/v2x",
        ] {
            assert_eq!(Path::of(path), None, "{path}");
        }
    }
}
