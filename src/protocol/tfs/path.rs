//! Which paths there are: the originals' regular expressions, matched by hand.
//!
//! ```text
//! POST (?i)/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)
//! GET  (?i)/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:\/(metadata))?
//! ```

use super::super::path::decoded;

/// Which version a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choose {
    /// None.
    Serving,
    /// By its digits.
    Version(String),
    /// By a label, decoded.
    Label(String),
}

/// A path that is posted to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Post<'a> {
    /// The model, decoded.
    pub name: String,
    pub choose: Choose,
    /// As it stands in the path.
    pub method: &'a str,
}

/// A path that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Get {
    /// The model, decoded.
    pub name: Option<String>,
    pub choose: Choose,
    pub metadata: bool,
}

/// What follows `front`, which is in small letters, in whatever case it stands there.
fn after<'a>(text: &'a str, front: &str) -> Option<&'a str> {
    let (found, rest) = text.split_at_checked(front.len())?;
    found.eq_ignore_ascii_case(front).then_some(rest)
}

/// A word of at least one character without `/` and `:`, and what follows.
fn word(text: &str) -> Option<(&str, &str)> {
    let end = text.find(['/', ':']).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

/// A version or label, where there is one, and what follows.
fn choice(text: &str) -> (Choose, &str) {
    if let Some(rest) = after(text, "/versions/") {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if let Some((digits, rest)) = rest.split_at_checked(digits).filter(|(d, _)| !d.is_empty()) {
            return (Choose::Version(digits.to_string()), rest);
        }
    }
    if let Some((label, rest)) = after(text, "/labels/").and_then(word) {
        return (Choose::Label(decoded(label).into_owned()), rest);
    }
    (Choose::Serving, text)
}

impl<'a> Post<'a> {
    pub(super) fn of(path: &'a str) -> Option<Post<'a>> {
        let (name, rest) = word(after(path, "/v1/models/")?)?;
        let (choose, rest) = choice(rest);
        let method = rest.strip_prefix(':')?;
        let known = ["classify", "regress", "predict"];
        known.iter().any(|known| method.eq_ignore_ascii_case(known)).then(|| Post {
            name: decoded(name).into_owned(),
            choose,
            method,
        })
    }
}

impl Get {
    pub(super) fn of(path: &str) -> Option<Get> {
        let rest = after(path, "/v1/models")?;
        let named = rest.strip_prefix('/').and_then(word);
        // The name may be absent: "versions" is one only where the rest fits then.
        let with_name = named.and_then(|(name, rest)| Get::end(Some(name), rest));
        with_name.or_else(|| Get::end(None, rest))
    }

    fn end(name: Option<&str>, rest: &str) -> Option<Get> {
        let (choose, rest) = choice(rest);
        let name = name.map(|name| decoded(name).into_owned());
        match rest {
            "" => Some(Get { name, choose, metadata: false }),
            // Captured in any case, compared as it stands: other spellings ask for the status.
            rest => after(rest, "/metadata").filter(|end| end.is_empty()).map(|_| Get {
                name,
                choose,
                metadata: rest == "/metadata",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_posted_to() {
        let post = |path| Post::of(path).map(|p| (p.name, p.choose, p.method.to_string()));
        let version = |v: &str| Choose::Version(v.to_string());
        let label = |l: &str| Choose::Label(l.to_string());
        for (path, name, choose, method) in [
            ("/v1/models/half:predict", "half", Choose::Serving, "predict"),
            ("/V1/MODELS/half:predict", "half", Choose::Serving, "predict"),
            ("/v1/models/half:PREDICT", "half", Choose::Serving, "PREDICT"),
            ("/v1/models/half/versions/123:classify", "half", version("123"), "classify"),
            ("/v1/models/half/Versions/0:regress", "half", version("0"), "regress"),
            ("/v1/models/half/labels/st%20able:predict", "half", label("st able"), "predict"),
            ("/v1/models/half%20plus%3atwo:predict", "half plus:two", Choose::Serving, "predict"),
            (
                "/v1/models/half/versions/99999999999999999999:predict",
                "half",
                version("99999999999999999999"),
                "predict",
            ),
        ] {
            let expected = (name.to_string(), choose, method.to_string());
            assert_eq!(post(path), Some(expected), "{path}");
        }
        for path in [
            "/v1/models/half",
            "/v1/models/half:predictx",
            "/v1/models/half/:predict",
            "/v1/models/:predict",
            "/v1/models:predict",
            "/v1/models/half/version/50:predict",
            "/v1/models/half/versions/HELLO:regress",
            "/v1/models/half/versions/:predict",
            "/v1/models/half/versions/1/labels/x:predict",
            "/v1/models/half/labels/x/versions/1:predict",
            "/v1/models/half/labels/:predict",
            "/v1/models/half/metadata:predict",
            "/v1/models/a/b:predict",
            "/v1/models/half:predict/",
            "/v2/models/half:predict",
            "/v1/mödels/half:predict",
            "/v1",
            "",
        ] {
            assert_eq!(post(path), None, "{path}");
        }
    }

    #[test]
    fn paths_that_are_asked_for() {
        let get = |path: &str| {
            Get::of(path).map(|g| {
                let choose = match g.choose {
                    Choose::Serving => String::new(),
                    Choose::Version(v) => format!("v{v}"),
                    Choose::Label(l) => format!("l{l}"),
                };
                (g.name.unwrap_or_default(), choose, g.metadata)
            })
        };
        for (path, name, choose, metadata) in [
            ("/v1/models", "", "", false),
            ("/v1/models/half", "half", "", false),
            ("/v1/Models/half/versions/7", "half", "v7", false),
            ("/v1/models/half/labels/stable", "half", "lstable", false),
            ("/v1/models/half/metadata", "half", "", true),
            ("/v1/models/half/METADATA", "half", "", false),
            ("/v1/models/half/versions/7/metadata", "half", "v7", true),
            ("/v1/models/half/labels/x/metadata", "half", "lx", true),
            ("/v1/models/versions/7", "", "v7", false),
            ("/v1/models/versions", "versions", "", false),
            ("/v1/models/metadata", "metadata", "", false),
            ("/v1/models/labels/metadata", "labels", "", true),
            ("/v1/models/labels/x/metadata", "", "lx", true),
            ("/v1/models/a%2Fb", "a/b", "", false),
        ] {
            let expected = (name.to_string(), choose.to_string(), metadata);
            assert_eq!(get(path), Some(expected), "{path}");
        }
        for path in [
            "/v1/models/",
            "/v1/models/half/",
            "/v1/models/half:predict",
            "/v1/models/half/versions/x",
            "/v1/models/half/versions/7/",
            "/v1/models/half/metadata/x",
            "/v1/models/half/versions/1/labels/x",
            "/v1/modelsx",
            "/v1/",
        ] {
            assert_eq!(get(path), None, "{path}");
        }
    }
}
