//! How the HTTP protocols are spoken.

use crate::config::HttpConfig;
use crate::manager::ModelManager;
use std::fmt;
use std::path::PathBuf;

/// How the HTTP protocols of a manager are spoken. What is off by default is what changes models.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpOptions {
    /// The model that `/predict` and `/health` mean. Default: the only one there is.
    pub default_model: Option<String>,
    /// Whether a request may load, reload and unload models. Default: no.
    pub management: bool,
    /// What such a request has to show as `Authorization: Bearer …`. Default: nothing.
    pub token: Option<String>,
    /// The folder beneath which such a request may name models. Default: the repository that the
    /// manager serves.
    pub root: Option<PathBuf>,
    /// Whether browsers on other sites may ask (CORS). Default: no.
    pub cors: bool,
    /// Most bytes of a body (64 MiB). What reading one costs is at most about 16 times as much.
    pub max_body_bytes: usize,
    /// How deep JSON may nest (64; at most 256).
    pub max_depth: usize,
    /// Most rows of one request (65,536). A model may allow fewer:
    /// [`crate::limits::RequestLimits::rows`].
    pub max_rows: usize,
    /// Most bytes of one string in a request (1 MiB).
    pub max_string_bytes: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            default_model: None,
            management: false,
            token: None,
            root: None,
            cors: false,
            max_body_bytes: 64 << 20,
            max_depth: 64,
            max_rows: 65_536,
            max_string_bytes: 1 << 20,
        }
    }
}

impl From<&HttpConfig> for HttpOptions {
    fn from(config: &HttpConfig) -> HttpOptions {
        let defaults = HttpOptions::default();
        let size = |given: Option<u64>, default| {
            given.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        HttpOptions {
            default_model: config.default_model.clone(),
            management: config.management,
            token: config.token.as_ref().map(|token| token.as_str().to_string()),
            root: config.root.clone(),
            cors: config.cors,
            max_body_bytes: size(config.max_body_bytes, defaults.max_body_bytes),
            max_depth: config.max_depth.unwrap_or(defaults.max_depth),
            max_rows: config.max_rows.unwrap_or(defaults.max_rows),
            max_string_bytes: size(config.max_string_bytes, defaults.max_string_bytes),
        }
    }
}

impl ModelManager {
    /// How the configuration file says that the HTTP protocols are spoken; the defaults for a
    /// manager without one.
    pub fn http_options(&self) -> HttpOptions {
        self.http_config().map_or_else(HttpOptions::default, HttpOptions::from)
    }
}

impl fmt::Debug for HttpOptions {
    /// Without the token: options end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("default_model", &self.default_model)
            .field("management", &self.management)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("root", &self.root)
            .field("cors", &self.cors)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("max_depth", &self.max_depth)
            .field("max_rows", &self.max_rows)
            .field("max_string_bytes", &self.max_string_bytes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_printed() {
        let options = HttpOptions { token: Some("s3cret".to_string()), ..Default::default() };
        assert!(!format!("{options:?}").contains("s3cret"));
    }
}
